// SPDX-License-Identifier: MIT

public import XenExploration

/// A scenario with the faults that may strike in it: what a recipe names, and what is run from many seeds.
public struct Experiment: Sendable {
    /// What happens.
    public let scenario: Scenario
    /// The faults that may strike, by names that `Fault.named(_:)` knows; they are part of the recipe.
    public let faults: [String]
    /// Which faults strike how often.
    public let plan: FaultPlan
    /// How often in a run an actor may be interrupted while it has something to do, as in `Schedule.bounded(preemptions:)`; nil for as often
    /// as chance has it. It is part of the recipe.
    public let preemptions: Int?
    /// Makes what replaces a part of the world, anew for each run; nil for the parts that ship.
    private let substitution: (@Sendable () -> any Substitution)?

    /// Puts a scenario and faults together; nil if a name is no fault's. Traps if `preemptions` is negative.
    public init?(
        _ scenario: Scenario,
        faults: [String] = [],
        preemptions: Int? = nil,
        substitution: (@Sendable () -> any Substitution)? = nil
    ) {
        var kinds: [Fault] = []
        for name in faults {
            guard let named = Fault.named(name) else { return nil }
            kinds += named
        }
        if let preemptions { precondition(preemptions >= 0, "a number of interruptions is not negative") }
        self.scenario = scenario
        self.faults = faults
        self.preemptions = preemptions
        plan = FaultPlan(kinds)
        self.substitution = substitution
    }

    /// Finds the experiment of a recipe among the scenarios that come with the library; nil if there is none of that name.
    public init?(_ recipe: Recipe) {
        var parts = recipe.label.split(separator: "+", omittingEmptySubsequences: false).map(String.init)
        var preemptions: Int?
        if let last = parts.last, last.hasPrefix(Experiment.bound),
            let count = Int(last.dropFirst(Experiment.bound.count)), count >= 0
        {
            preemptions = count
            parts.removeLast()
        }
        guard let name = parts.first, let scenario = Scenario.named(name) else { return nil }
        self.init(scenario, faults: Array(parts.dropFirst()), preemptions: preemptions)
    }

    private static let bound = "preemptions="

    /// The label of its recipes: the scenario, the faults, and the bound of interruptions if there is one, with plus signs between.
    public var label: String {
        ([scenario.name] + faults + (preemptions.map { ["\(Experiment.bound)\($0)"] } ?? [])).joined(separator: "+")
    }

    private func simulation(
        _ choices: Choices,
        _ plan: FaultPlan,
        schedule: Schedule? = nil,
        tracing: Bool = false
    ) -> Simulation {
        Simulation(
            choices,
            faults: plan,
            schedule: schedule ?? preemptions.map { .bounded(preemptions: $0) } ?? .random,
            substitution: substitution?(),
            backend: scenario.backend,
            tracing: tracing
        )
    }

    /// Runs it once; up to a step only, if one is given.
    public func run(_ choices: Choices, tracing: Bool = false, upTo lastStep: Int = .max) -> Simulation {
        let simulation = simulation(choices, plan, tracing: tracing)
        simulation.lastStep = lastStep
        scenario.run(in: simulation)
        return simulation
    }

    /// Runs it from one seed, and makes a failure small with at most `shrinkLimit` runs, and with none once `isStopped`.
    public func check(seed: UInt64, shrinkLimit: Int = 400, isStopped: () -> Bool = { false }) -> ExperimentResult {
        let simulation = run(Choices(seed: seed, recording: false))
        guard let message = simulation.failure else {
            return ExperimentResult(steps: simulation.steps, coverage: simulation.coverage, failure: nil)
        }
        var values: [UInt32] = run(Choices(seed: seed)).choices.values
        var shrinker = Shrinker(limit: shrinkLimit)
        var runs = 0
        values = shrinker.shrink(values) { choices in
            if isStopped() { return false }
            runs += 1
            let simulation = run(choices)
            choices = simulation.choices
            return simulation.failure != nil
        }
        let smallest = run(Choices(replaying: values))
        let failure = ExperimentFailure(
            seed: seed,
            recipe: Recipe(label: label, of: smallest.choices),
            message: smallest.failure ?? "the run depends on more than its choices: first it said \(message)",
            firstMessage: message,
            steps: smallest.steps,
            shrinkRuns: runs
        )
        return ExperimentResult(steps: simulation.steps, coverage: simulation.coverage, failure: failure)
    }

    /// Repeats a recipe of this experiment, with a trace. Throws if the recipe does not fit.
    public func replay(_ recipe: Recipe) throws(RecipeError) -> Simulation {
        let simulation = run(recipe.choices(), tracing: true)
        if let misfit = recipe.misfit(after: simulation.choices) { throw misfit }
        return simulation
    }

    /// Runs it from one seed with a fault at its first step, then with the fault at the second, and so on to the last: the interruptions that
    /// no chance may miss. The fault must be one that strikes an actor between two steps.
    public func exploreInterruptions(by fault: Fault, seed: UInt64) -> ExhaustiveResult {
        var result = ExhaustiveResult()
        var interrupted = plan
        var step = 1
        repeat {
            interrupted[fault] = .occasions([step])
            let simulation = simulation(Choices(seed: seed, recording: false), interrupted)
            scenario.run(in: simulation)
            result.runs += 1
            result.steps += simulation.steps
            if let failure = simulation.failure {
                result.failure = "\(fault) after step \(step) from seed \(seed): \(failure)"
                return result
            }
            result.isComplete = step >= simulation.steps
            step += 1
        } while !result.isComplete
        return result
    }

    /// The seed of the case of a number, in a series that begins with `seed`.
    public static func seed(_ seed: UInt64, case number: Int) -> UInt64 {
        var hash = FixedHash(domain: seed)
        hash.combine(number)
        return hash.value
    }

    /// Tries so many seeds, and returns the first failure, made small; nil if all passed.
    public func explore(cases: Int, seed: UInt64, shrinkLimit: Int = 400) -> ExperimentFailure? {
        for number in 0..<cases {
            let result = check(seed: Experiment.seed(seed, case: number), shrinkLimit: shrinkLimit)
            if let failure = result.failure { return failure }
        }
        return nil
    }

    /// Tries every schedule with at most so many interruptions, without faults unless they are scripted; a state that was seen before is
    /// not looked at again. Stops after `runLimit` runs.
    public func exploreAll(preemptions: Int, runLimit: Int = .max) -> ExhaustiveResult {
        var choices = Choices.exhaustive()
        let visited = VisitedStates()
        var result = ExhaustiveResult()
        repeat {
            let simulation = simulation(choices, plan, schedule: .systematic(preemptions: preemptions))
            simulation.visited = visited
            scenario.run(in: simulation)
            choices = simulation.choices
            result.runs += 1
            result.cutRuns += simulation.isCut ? 1 : 0
            result.steps += simulation.steps
            result.states = visited.count
            if let failure = simulation.failure {
                result.failure = failure
                return result
            }
            if result.runs >= runLimit { return result }
        } while choices.backtrack()
        result.isComplete = true
        return result
    }
}

/// What came of one seed.
public struct ExperimentResult: Hashable, Sendable {
    /// How many steps the run made.
    public let steps: Int
    /// Which events have met the handshake machines in which states.
    public let coverage: HandshakeCoverage
    /// Why it failed; nil if it passed.
    public let failure: ExperimentFailure?
}

/// A run that failed, made small.
public struct ExperimentFailure: Hashable, Sendable, CustomStringConvertible {
    /// The seed that failed first.
    public let seed: UInt64
    /// The line that repeats the smallest failing run.
    public let recipe: Recipe
    /// What went wrong in the smallest run.
    public let message: String
    /// What went wrong in the first one.
    public let firstMessage: String
    /// How many steps the smallest run has.
    public let steps: Int
    /// How many runs it took to make it small.
    public let shrinkRuns: Int

    /// What went wrong, and how to repeat it.
    public var description: String {
        "\(message)\nafter \(steps) steps, made small in \(shrinkRuns) runs from seed 0x\(String(seed, radix: 16))\n\(recipe)"
    }
}

/// What came of looking at every schedule.
public struct ExhaustiveResult: Hashable, Sendable {
    /// How many runs were made.
    public var runs = 0
    /// How many of them ended at a state that was seen before.
    public var cutRuns = 0
    /// How many steps were made.
    public var steps = 0
    /// How many different states were seen.
    public var states = 0
    /// Why a run failed; nil if none did.
    public var failure: String?
    /// Whether there was nothing left to look at.
    public var isComplete = false
}
