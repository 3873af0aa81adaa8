// SPDX-License-Identifier: MIT

public import XenRing

/// A small program of a few strands on one page, whose every execution is looked at.
public struct Scenario: Sendable {
    /// One line of execution: a vCPU, a thread.
    public struct Strand: Sendable {
        /// What the listing calls it.
        public let name: String
        /// Whether it may stop dead before any access, once, and start again (`CheckedMemory.restarted()`).
        public let mayCrash: Bool
        /// Whether the scenario may end while it still waits for a notification.
        public let mayWaitForever: Bool
        /// What it does. It is run from its start many times over, so it depends on the memory alone, has
        /// no effects but on it, and comes to an end whatever the memory returns (see `CheckedMemory.isOver`).
        public let body: @Sendable (CheckedMemory) -> Void

        /// Describes a strand.
        public init(
            _ name: String,
            mayCrash: Bool = false,
            mayWaitForever: Bool = false,
            body: @escaping @Sendable (CheckedMemory) -> Void
        ) {
            self.name = name
            self.mayCrash = mayCrash
            self.mayWaitForever = mayWaitForever
            self.body = body
        }
    }

    /// An atomic location: its offset in the page, what the listing calls it, and its first value.
    public struct Location: Hashable, Sendable {
        /// Offset in the page.
        public let offset: Int
        /// What the listing calls it.
        public let name: String
        /// Its value before the first store.
        public let value: UInt32

        /// Describes a location.
        public init(_ offset: Int, _ name: String, _ value: UInt32 = 0) {
            self.offset = offset
            self.name = name
            self.value = value
        }
    }

    /// Names the scenario, in recipes as well.
    public let name: String
    /// What is checked in it, in a sentence.
    public let summary: String
    /// The atomic locations, at most 8.
    public let locations: [Location]
    /// The plain bytes.
    public let data: Range<Int>
    /// The ring in it, if the distance of its indices is to be watched.
    public let layout: RingLayout?
    /// The strands, at most 4.
    public let strands: [Strand]
    /// Whether data races count; a hostile peer makes them on purpose.
    public var checksRaces = true
    /// Whether a store counts as ordered after the loads that a branch before it depends on.
    public var controlDependencies = false
    /// Whether the last value of every location is part of an outcome, behind what the strands observed.
    public var observesFinalValues = false
    /// What the memory leaves out.
    public var weakening = Weakening.none

    /// Describes a scenario over any locations.
    public init(
        _ name: String,
        summary: String,
        locations: [Location],
        data: Range<Int> = 0..<0,
        layout: RingLayout? = nil,
        strands: [Strand]
    ) {
        precondition(locations.count <= MemoryModel.maximumLocations, "too many locations")
        precondition(strands.count <= MemoryModel.maximumStrands, "too many strands")
        self.name = name
        self.summary = summary
        self.locations = locations
        self.data = data
        self.layout = layout
        self.strands = strands
    }

    /// Describes a scenario over one ring whose indices both stand at `start`.
    public init(_ name: String, summary: String, ring layout: RingLayout, start: UInt32, strands: [Strand]) {
        self.init(
            name,
            summary: summary,
            locations: [
                Location(layout.consumerIndex, "cons", start), Location(layout.producerIndex, "prod", start),
            ],
            data: layout.data..<(layout.data + Int(layout.capacity)),
            layout: layout,
            strands: strands
        )
    }

    /// The same scenario in a memory that leaves things out.
    public func weakened(_ weakening: Weakening) -> Scenario {
        var scenario = self
        scenario.weakening = weakening
        return scenario
    }
}

extension Scenario: CustomStringConvertible {
    /// Its name and summary.
    public var description: String { "\(name): \(summary)" }
}
