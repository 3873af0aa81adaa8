// SPDX-License-Identifier: MIT

import XenExploration

/// What a strand does at a point where others may go first.
enum Event: Hashable, Sendable {
    case load(Int, AccessOrdering)
    case store(Int, UInt32, AccessOrdering)
    case barrier(Barrier)
    case notify(Int)
    case wait(Int)
}

/// One strand as far as it has come: enough to run its body again up to the same point.
struct StrandState: Sendable {
    /// Events performed, and what each returned.
    var events: [(event: Event, result: UInt32)] = []
    /// Bytes that its copies out of the page returned.
    var copies: [[UInt8]] = []
    /// Choices of its own.
    var decisions: [UInt32] = []
    /// How many copies into the page were made.
    var writes = 0
    /// How often it summarized what it knows.
    var summaries = 0
    /// What it does next; nil when it has finished.
    var next: Event?
    /// What it noted for the end (`CheckedMemory.observe(_:)`).
    var observations: [UInt32] = []
    /// A hash of everything above.
    var history = FixedHash()
}

/// The whole of a scenario between two steps.
struct WorldState: Sendable {
    var memory: MemoryModel
    var strands: [StrandState]
    /// A notification that waits to be taken, by strand, with what it carries along.
    var pending: [Knowledge?]
    /// Which strand made the last step.
    var last = 0
    var violation: String?
    /// The most bytes that were ever in the ring.
    var highWater: UInt32 = 0

    init(_ scenario: Scenario) {
        memory = MemoryModel(
            strands: scenario.strands.count,
            dataBytes: scenario.data.count,
            controlDependencies: scenario.controlDependencies
        )
        for location in scenario.locations { _ = memory.addLocation(location.value) }
        strands = scenario.strands.map { _ in StrandState() }
        pending = scenario.strands.map { _ in nil }
    }

    /// Whether a strand can make a step: not finished, and not waiting in vain.
    func isEnabled(_ strand: Int) -> Bool {
        switch strands[strand].next {
        case nil: false
        case .wait(let port): pending[port] != nil
        case .load, .store, .barrier, .notify: true
        }
    }

    /// A number for the state; the same state always has the same.
    var fingerprint: UInt64 {
        var hash = FixedHash()
        memory.combine(into: &hash)
        for strand in strands { hash.combine(strand.history.value) }
        for knowledge in pending {
            hash.combine(knowledge == nil ? 0 : 1)
            knowledge?.combine(into: &hash)
        }
        return hash.value
    }
}
