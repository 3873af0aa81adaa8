// SPDX-License-Identifier: MIT

public import XenInterface

/// The ports that have an event, and whose turn it is: each domain's in turn, one at a time, and no domain more than its budget before all
/// else has had its turn as well.
///
/// So a guest that never stops sending events keeps nobody waiting for longer than one event of each domain takes (A29, A34). A port that is
/// ready again before it was served is served once, as its pending bit is one.
public struct EventRota: Hashable, Sendable {
    /// How many events of a domain are served between two calls of `refill()`, for each port that it has.
    public let budget: Int
    /// The highest budget: more is taken for that.
    public static let maximumBudget = 1 << 32
    /// By the domain's number.
    private var lanes: [Lane] = []
    /// Domains with a ready port and budget left, in the order of their turns.
    private var active = Chain()
    /// Domains with a ready port that have used up their budget.
    private var exhausted = Chain()
    /// By the port's number, and by the domain's: what stands behind each in the chain it is in.
    private var portLinks: [Int32] = []
    private var laneLinks: [Int32] = []
    /// Counts the calls of `refill()`: what a domain used before the last one is forgotten without a visit.
    private var period: UInt32 = 0

    private struct Lane: Hashable, Sendable {
        var ports = Chain()
        var served = 0
        var period: UInt32 = 0
        /// How many ports are open, ready or not.
        var openCount = 0

        /// Whether one more event can be served.
        func hasBudget(_ budget: Int, in current: UInt32) -> Bool {
            period != current || served < budget &* max(1, openCount)
        }

        /// Counts an event as served.
        mutating func spend(in current: UInt32) {
            served = period == current ? served &+ 1 : 1
            period = current
        }
    }

    /// The budget, if nothing else is said.
    public static let standardBudget = 128

    /// Makes a rota without ports. Traps unless `budget` is positive.
    public init(budget: Int = EventRota.standardBudget) {
        precondition(budget > 0, "a domain has at least one event")
        self.budget = min(budget, EventRota.maximumBudget)
    }

    /// Whether no port is ready, not even one of a domain that has used up its budget.
    public var isEmpty: Bool { active.isEmpty && exhausted.isEmpty }

    /// A domain has one more port that may have events, or one less. Traps if there are fewer than none.
    public mutating func countPorts(of domain: DomainID, adding change: Int) {
        let lane = Int(domain.rawValue)
        while lanes.count <= lane { addLane() }
        lanes[lane].openCount += change
        precondition(lanes[lane].openCount >= 0, "only ports that were counted go")
    }

    /// A port has an event; false if it waits for its turn already.
    public mutating func add(_ port: EventChannelPort, of domain: DomainID) -> Bool {
        let (number, lane) = (Int32(port.rawValue), Int32(domain.rawValue))
        while lanes.count <= lane { addLane() }
        while portLinks.count <= number { portLinks.append(Chain.outside) }
        guard portLinks[Int(number)] == Chain.outside else { return false }
        lanes[Int(lane)].ports.append(number, &portLinks)
        queueLane(lane)
        return true
    }

    /// Takes the port whose turn it is; nil if there is none whose domain has budget left.
    public mutating func next() -> EventChannelPort? {
        guard let lane = active.popFirst(&laneLinks), let port = lanes[Int(lane)].ports.popFirst(&portLinks) else {
            return nil
        }
        lanes[Int(lane)].spend(in: period)
        queueLane(lane)
        return EventChannelPort(UInt32(port))
    }

    /// All else has had its turn: each domain has its whole budget again.
    public mutating func refill() {
        period &+= 1
        active.append(exhausted, &laneLinks)
        exhausted = Chain()
    }

    private mutating func addLane() {
        lanes.append(Lane())
        laneLinks.append(Chain.outside)
    }

    private mutating func queueLane(_ lane: Int32) {
        guard laneLinks[Int(lane)] == Chain.outside, !lanes[Int(lane)].ports.isEmpty else { return }
        if lanes[Int(lane)].hasBudget(budget, in: period) {
            active.append(lane, &laneLinks)
        } else {
            exhausted.append(lane, &laneLinks)
        }
    }
}

/// Numbers, first come, first served. What stands behind each is kept outside, in an array with a place for each number there is, so that
/// nothing is allocated or moved.
private struct Chain: Hashable, Sendable {
    private var first = Chain.end
    private var last = Chain.end

    /// Behind the last one.
    private static let end: Int32 = -1
    /// Behind a number that is in no chain.
    static let outside: Int32 = -2

    var isEmpty: Bool { first == Chain.end }

    mutating func append(_ number: Int32, _ links: inout [Int32]) {
        links[Int(number)] = Chain.end
        if isEmpty { first = number } else { links[Int(last)] = number }
        last = number
    }

    /// Appends all of another chain over the same numbers.
    mutating func append(_ other: Chain, _ links: inout [Int32]) {
        guard !other.isEmpty else { return }
        if isEmpty { first = other.first } else { links[Int(last)] = other.first }
        last = other.last
    }

    mutating func popFirst(_ links: inout [Int32]) -> Int32? {
        guard !isEmpty else { return nil }
        let number = first
        first = links[Int(number)]
        links[Int(number)] = Chain.outside
        return number
    }
}
