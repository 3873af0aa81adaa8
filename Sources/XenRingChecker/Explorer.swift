// SPDX-License-Identifier: MIT

public import XenExploration

/// Looks at every execution of a scenario that the memory model allows.
///
/// From each state every strand that can go makes one step, and every value that its access may return is tried, by
/// `Choices` that walk exhaustively through that step. A state that was seen before is not gone into again. A
/// violation is told with the choices that lead to it, so `replay` repeats it.
///
/// What a proof leaves out: load buffering, a load that takes the value of a store which is made later because of it
/// (RC11 forbids it, the models of C11 and of some CPUs do not); rings, strands and operations beyond those of the
/// scenario; and the chance that two states share a 64-bit fingerprint.
public struct Explorer: Sendable {
    /// What was found.
    public struct Report: Sendable {
        /// The name of the scenario.
        public let scenario: String
        /// Executions followed to their end.
        public internal(set) var executions = 0
        /// Executions not followed further, since they came to a state seen before.
        public internal(set) var cut = 0
        /// Steps made: accesses performed.
        public internal(set) var steps = 0
        /// Different states seen.
        public internal(set) var states = 0
        /// The most bytes that were in the ring at once.
        public internal(set) var highWater: UInt32 = 0
        /// Whether everything was looked at; false if the limit came first or a violation ended the search.
        public internal(set) var isComplete = true
        /// The first violation found.
        public internal(set) var violation: Violation?
        /// What the strands had observed at the end of an execution, each combination once, in order.
        public internal(set) var outcomes: [[UInt32]] = []

        /// Whether every execution was looked at and none broke a rule.
        public var isProof: Bool { isComplete && violation == nil }
    }

    /// The scenario explored.
    public let scenario: Scenario
    /// After how many steps the search gives up.
    public let stepLimit: Int
    /// Whether a state that was seen before is gone into again: slow, and the same verdict.
    public let revisitsStates: Bool

    /// Prepares to explore.
    public init(_ scenario: Scenario, stepLimit: Int = 100_000_000, revisitsStates: Bool = false) {
        self.scenario = scenario
        self.stepLimit = stepLimit
        self.revisitsStates = revisitsStates
    }

    /// Explores until everything was seen, a violation is found, or the limit is reached.
    public func explore() -> Report {
        var search = Search(self)
        search.run()
        return search.report
    }

    /// Repeats the execution of a recipe and lists it; nil if it breaks no rule.
    ///
    /// Throws `RecipeError` if the recipe is of another scenario or does not fit this one.
    public func replay(_ recipe: Recipe) throws(RecipeError) -> Violation? {
        guard recipe.label == Explorer.label(of: scenario) else {
            throw .doesNotFit("it is of \(recipe.label), not of \(Explorer.label(of: scenario))")
        }
        let (violation, choices) = Explorer.execute(scenario, recipe.choices())
        if let misfit = recipe.misfit(after: choices) { throw misfit }
        return violation
    }

    /// What recipes of a scenario are labelled with.
    static func label(of scenario: Scenario) -> String {
        let weakened = scenario.weakening.leftOut.map(\.rawValue).sorted().map { "-" + $0 }.joined()
        return Recipe.label(from: scenario.name + weakened)
    }

    /// One execution from start to end, with a listing.
    static func execute(_ scenario: Scenario, _ choices: Choices) -> (Violation?, Choices) {
        let memory = CheckedMemory(scenario, choices: choices)
        memory.trace = []
        Search.prime(memory)
        while memory.world.violation == nil, Search.step(memory) {}
        guard let text = memory.world.violation ?? Search.lostWakeUp(scenario, memory.world) else {
            return (nil, memory.choices)
        }
        let violation = Violation(
            text: text,
            recipe: Recipe(label: label(of: scenario), of: memory.choices),
            names: scenario.strands.map(\.name),
            steps: memory.trace ?? []
        )
        return (violation, memory.choices)
    }
}

/// The depth-first search behind `Explorer`.
struct Search {
    let scenario: Scenario
    let stepLimit: Int
    let revisitsStates: Bool
    let memory: CheckedMemory
    var report: Explorer.Report
    private var visited: Set<UInt64> = []
    private var outcomes: Set<[UInt32]> = []

    init(_ explorer: Explorer) {
        scenario = explorer.scenario
        stepLimit = explorer.stepLimit
        revisitsStates = explorer.revisitsStates
        memory = CheckedMemory(scenario, choices: .exhaustive())
        report = Explorer.Report(scenario: scenario.name)
    }

    mutating func run() {
        let start = memory.world
        memory.choices = .exhaustive()
        var path: [UInt32] = []
        var choices = Choices.exhaustive()
        repeat {
            memory.world = start
            memory.choices = choices
            Search.prime(memory)
            choices = memory.choices
            visit(memory.world, &path, choices.values)
        } while report.isComplete && choices.backtrack()
        report.states = visited.count
        report.outcomes = outcomes.sorted { $0.lexicographicallyPrecedes($1) }
    }

    /// Runs each strand up to its first event.
    static func prime(_ memory: CheckedMemory) {
        for strand in memory.world.strands.indices { memory.run(strand, performing: 0) }
        memory.world.last = 0
    }

    /// One step of a strand that is chosen, 0 being the one that went last. False if none can go.
    static func step(_ memory: CheckedMemory) -> Bool {
        let count = memory.world.strands.count
        var enabled: [Int] = []
        for offset in 0..<count {
            let strand = (memory.world.last + offset) % count
            if memory.world.isEnabled(strand) { enabled.append(strand) }
        }
        guard !enabled.isEmpty else { return false }
        memory.run(enabled[memory.choices.choose(below: enabled.count)], performing: 1)
        return true
    }

    /// Everything that can follow on `state`, which `path` led to but for its last values.
    private mutating func visit(_ state: WorldState, _ path: inout [UInt32], _ values: [UInt32]) {
        path += values
        defer { path.removeLast(values.count) }
        report.highWater = max(report.highWater, state.highWater)
        if state.violation != nil { return found(path) }
        guard visited.insert(state.fingerprint).inserted || revisitsStates else {
            report.cut += 1
            return
        }
        var choices = Choices.exhaustive()
        repeat {
            memory.world = state
            memory.choices = choices
            guard Search.step(memory) else { return end(state, path) }
            choices = memory.choices
            report.steps += 1
            visit(memory.world, &path, choices.values)
            if report.steps >= stepLimit { report.isComplete = false }
        } while report.isComplete && choices.backtrack()
    }

    private mutating func end(_ state: WorldState, _ path: [UInt32]) {
        report.executions += 1
        if Search.lostWakeUp(scenario, state) != nil { return found(path) }
        let last = scenario.observesFinalValues ? scenario.locations.indices.map { state.memory.newest($0) } : []
        outcomes.insert(state.strands.flatMap(\.observations) + last)
    }

    /// Somebody waits for a notification that nobody will send.
    static func lostWakeUp(_ scenario: Scenario, _ state: WorldState) -> String? {
        for (strand, description) in zip(state.strands, scenario.strands)
        where strand.next != nil && !description.mayWaitForever {
            return "\(description.name): sleeps for ever, nobody will notify it"
        }
        return nil
    }

    private mutating func found(_ path: [UInt32]) {
        report.isComplete = false
        var shrinker = Shrinker(limit: 3000)
        let small = shrinker.shrink(path) { choices in
            let (violation, used) = Explorer.execute(scenario, choices)
            choices = used
            return violation != nil
        }
        report.violation = Explorer.execute(scenario, Choices(replaying: small)).0
    }
}
