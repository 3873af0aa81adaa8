// SPDX-License-Identifier: MIT

import XenExploration
public import XenRing

/// The page that a strand sees: the ring runs over it as over a real one.
///
/// A ring operation cannot be stopped in its middle, but it can be run again. To make one step, a strand's body is
/// run from its start: what it did before is answered from the record, exactly one more event is performed in the
/// model, and from the next one on nothing is real any more, until the body returns (`isOver`). Ring operations have
/// no loops and are total for whatever the memory says, which is what makes this sound.
public final class CheckedMemory: RingMemory {
    private let scenario: Scenario
    var world: WorldState
    var choices: Choices
    /// Lines for the listing, if it is wanted: which strand, and what it did.
    var trace: [(strand: Int, text: String)]?

    private var strand = 0
    private var eventsSeen = 0
    private var copiesSeen = 0
    private var writesSeen = 0
    private var decisionsSeen = 0
    private var summariesSeen = 0
    private var budget = 0
    private var observations: [UInt32] = []
    private var crashed = false
    private var wasRestarted = false
    private var reached: Event?
    /// Whether what is asked from now on has no effect and no meaning: the body should return as soon as it can.
    public private(set) var isOver = false

    init(_ scenario: Scenario, choices: Choices) {
        self.scenario = scenario
        self.choices = choices
        world = WorldState(scenario)
    }

    /// Runs the strand's body, performing one event; or none, for the plain bytes before its first event.
    func run(_ strand: Int, performing budget: Int) {
        self.strand = strand
        self.budget = budget
        (eventsSeen, copiesSeen, writesSeen, decisionsSeen, summariesSeen) = (0, 0, 0, 0, 0)
        observations.removeAll(keepingCapacity: true)
        (crashed, wasRestarted, isOver, reached) = (false, false, false, nil)
        scenario.strands[strand].body(self)
        world.strands[strand].next = reached
        world.strands[strand].observations = observations
        world.last = strand
    }

    // MARK: What a body may ask beyond the ring's accesses

    /// Takes part in the outcome of an execution (`Explorer.Report.outcomes`).
    public func observe(_ value: UInt32) {
        if !isOver { observations.append(value) }
    }

    /// Reports a violation unless `condition` holds.
    public func expect(_ condition: Bool, _ message: @autoclosure () -> String) {
        if !isOver && !crashed && !condition { fail(message()) }
    }

    /// Says that all this strand does from here on depends on `value` and the memory alone, not on how it came here,
    /// so that executions that meet here need not be told apart. Say it at one place of the body only; saying it
    /// wrongly hides executions.
    public func summarize(_ value: UInt64) {
        guard !isOver, !crashed else { return }
        summariesSeen += 1
        guard summariesSeen > world.strands[strand].summaries else { return }
        world.strands[strand].summaries += 1
        world.strands[strand].history = FixedHash(domain: 1)
        world.strands[strand].history.combine(value)
        for value in observations { world.strands[strand].history.combine(value) }
    }

    /// Chooses a number below `bound`; every one is tried.
    public func choose(below bound: Int) -> Int {
        if isOver || bound < 2 { return 0 }
        let known = world.strands[strand].decisions
        if decisionsSeen < known.count {
            decisionsSeen += 1
            return Int(known[decisionsSeen - 1])
        }
        let value = choices.choose(below: bound)
        world.strands[strand].decisions.append(UInt32(value))
        world.strands[strand].history.combine(UInt64(value) | 1 << 40)
        decisionsSeen += 1
        return value
    }

    /// Whether this strand crashed since it was last asked; from now on it is alive again.
    public func restarted() -> Bool {
        defer { crashed = false }
        return crashed && !isOver
    }

    /// Whether this strand crashed and has not been restarted: nothing it does has an effect or a meaning.
    public var isDown: Bool { crashed }

    /// The last value in the order of modifications, whoever may see it: for checks, not for what a strand does.
    public func newest(at offset: Int) -> UInt32 { world.memory.newest(location(offset)) }

    /// Notifies another strand through its event channel; pending notifications merge.
    public func notify(_ strand: Int) { _ = event(.notify(strand)) }

    /// Waits until this strand was notified, and takes the notification.
    public func wait() { _ = event(.wait(strand)) }

    /// Loads an atomic location.
    public func load(at offset: Int, _ ordering: AccessOrdering) -> UInt32 {
        event(.load(location(offset), ordering))
    }

    /// Stores to an atomic location.
    public func store(_ value: UInt32, at offset: Int, _ ordering: AccessOrdering) {
        _ = event(.store(location(offset), value, ordering))
    }

    /// A barrier on its own.
    public func barrier(_ barrier: Barrier) { _ = event(.barrier(barrier)) }

    /// Writes plain bytes.
    public func write(_ bytes: [UInt8], at offset: Int) {
        guard !isOver, !crashed else { return }
        let range = (offset - scenario.data.lowerBound)..<(offset - scenario.data.lowerBound + bytes.count)
        guard inBounds(range, "writes") else { return }
        writesSeen += 1
        guard writesSeen > world.strands[strand].writes else { return }
        world.strands[strand].writes += 1
        trace?.append((strand, "write bytes \(range.lowerBound)..<\(range.upperBound)"))
        if let race = world.memory.write(bytes, at: range.lowerBound, by: strand) { fail(race) }
    }

    /// Reads plain bytes.
    public func read(_ count: Int, at offset: Int) -> [UInt8] {
        let nothing = Array(repeating: UInt8(0), count: count)
        guard !isOver, !crashed else { return nothing }
        let range = (offset - scenario.data.lowerBound)..<(offset - scenario.data.lowerBound + count)
        guard inBounds(range, "reads") else { return nothing }
        copiesSeen += 1
        if copiesSeen <= world.strands[strand].copies.count { return world.strands[strand].copies[copiesSeen - 1] }
        trace?.append((strand, "read bytes \(range.lowerBound)..<\(range.upperBound)"))
        let (bytes, race) = world.memory.read(range, by: strand)
        world.strands[strand].copies.append(bytes)
        world.strands[strand].history.combine(bytes: bytes)
        if let race { fail(race) }
        return bytes
    }
}

// MARK: - The machinery

extension CheckedMemory {
    private func event(_ event: Event) -> UInt32 {
        if isOver || crashed { return 0 }
        let known = world.strands[strand].events.count
        if eventsSeen == known && budget == 0 {
            reached = event
            isOver = true
            return 0
        }
        if scenario.strands[strand].mayCrash && !wasRestarted && choose(below: 2) == 1 {
            trace?.append((strand, "CRASH"))
            crashed = true
            wasRestarted = true
            return 0
        }
        if eventsSeen < known {
            precondition(world.strands[strand].events[eventsSeen].event == event, "a strand's body is deterministic")
            eventsSeen += 1
            return world.strands[strand].events[eventsSeen - 1].result
        }
        budget -= 1
        let result = perform(event)
        world.strands[strand].events.append((event, result))
        world.strands[strand].history.combine(UInt64(result) | 1 << 41)
        eventsSeen += 1
        return result
    }

    private func perform(_ event: Event) -> UInt32 {
        switch event {
        case .load(let location, let ordering):
            let (value, newer) = world.memory.load(location, ordering, by: strand, &choices)
            let age = newer == 0 ? "" : ", \(newer) behind the newest"
            say("load \(name(location)) \(ordering) = \(value)\(age)")
            return value
        case .store(let location, let value, let ordering):
            say("store \(name(location)) \(ordering) = \(value)")
            world.memory.store(value, location, ordering, by: strand, &choices)
            checkDistance()
        case .barrier(let barrier):
            say(barrier.rawValue)
            world.memory.barrier(barrier, by: strand)
        case .notify(let other):
            say("notify \(scenario.strands[other].name)")
            var carried = world.memory.everything(knownBy: strand)
            if let before = world.pending[other] { carried.join(before) }
            world.pending[other] = carried
        case .wait(let port):
            say("woken")
            if let carried = world.pending[port] { world.memory.learn(carried, by: strand) }
            world.pending[port] = nil
        }
        return 0
    }

    /// The producer is never ahead by more than the capacity, and the consumer never ahead at all.
    private func checkDistance() {
        guard let layout = scenario.layout, scenario.checksRaces else { return }
        let producer = RingIndex(world.memory.newest(location(layout.producerIndex)))
        let consumer = RingIndex(world.memory.newest(location(layout.consumerIndex)))
        if producer - consumer > layout.capacity {
            fail("index out of range: prod \(producer.rawValue), cons \(consumer.rawValue)")
        } else {
            world.highWater = max(world.highWater, producer - consumer)
        }
    }

    private func say(_ text: @autoclosure () -> String) {
        if trace != nil { trace?.append((strand, text())) }
    }

    private func fail(_ text: String) {
        if world.violation == nil {
            world.violation = "\(scenario.strands[strand].name): \(text)"
            trace?.append((strand, "** \(text)"))
        }
    }

    private func fail(_ race: DataRace) {
        guard scenario.checksRaces else { return }
        let other = scenario.strands[race.other].name
        fail(
            "data race: byte \(race.offset) is \(race.wrote ? "written" : "read") "
                + "while \(other) may still \(race.otherWrote ? "write" : "read") it"
        )
    }

    private func inBounds(_ range: Range<Int>, _ what: String) -> Bool {
        if range.lowerBound >= 0 && range.upperBound <= scenario.data.count { return true }
        fail("\(what) bytes \(range) of a ring of \(scenario.data.count)")
        return false
    }

    private func location(_ offset: Int) -> Int {
        for (number, location) in scenario.locations.enumerated() where location.offset == offset { return number }
        preconditionFailure("an access to offset \(offset), which is no location of the scenario")
    }

    private func name(_ location: Int) -> String { scenario.locations[location].name }

    private func isLeftOut(_ point: OrderingPoint) -> Bool { scenario.weakening.leftOut.contains(point) }
}

// MARK: - RingMemory

extension CheckedMemory {
    /// Loads as the ring asks, or relaxed where the scenario leaves the ordering out.
    public func loadAcquire(at offset: Int) -> UInt32 {
        let point: OrderingPoint = offset == scenario.layout?.consumerIndex ? .producerLoad : .consumerLoad
        return load(at: offset, isLeftOut(point) ? .relaxed : .acquire)
    }

    /// Loads without ordering.
    public func loadRelaxed(at offset: Int) -> UInt32 { load(at: offset, .relaxed) }

    /// Stores as the ring asks, or relaxed where the scenario leaves the ordering out.
    public func storeRelease(_ value: UInt32, at offset: Int) {
        let point: OrderingPoint = offset == scenario.layout?.consumerIndex ? .consumerStore : .producerStore
        store(value, at: offset, isLeftOut(point) ? .relaxed : .release)
    }

    /// Loads the connection byte.
    public func loadAcquireByte(at offset: Int) -> UInt8 {
        UInt8(truncatingIfNeeded: load(at: offset, isLeftOut(.connectionLoad) ? .relaxed : .acquire))
    }

    /// Stores the connection byte.
    public func storeReleaseByte(_ value: UInt8, at offset: Int) {
        store(UInt32(value), at: offset, isLeftOut(.connectionStore) ? .relaxed : .release)
    }

    /// A full fence, or nothing where the scenario leaves it out; the first strand's fence is the producer's.
    public func fence() {
        if !isLeftOut(strand == 0 ? .producerFence : .consumerFence) { barrier(.full) }
    }

    /// Writes plain bytes.
    public func copyIn(_ source: UnsafeRawBufferPointer, at offset: Int) {
        write(unsafe Array(source), at: offset)
    }

    /// Reads plain bytes.
    public func copyOut(at offset: Int, into destination: UnsafeMutableRawBufferPointer) {
        unsafe destination.copyBytes(from: read(destination.count, at: offset))
    }
}
