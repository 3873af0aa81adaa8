// SPDX-License-Identifier: MIT

public import XenInterface

/// The ports that have an event, and whose turn it is: each domain's in turn, one at a time, and no domain more than its budget before all
/// else has had its turn as well.
///
/// So a guest that never stops sending events keeps nobody waiting for longer than one event of each domain takes (A29, A34). A port that is
/// ready again before it was served is served once, as its pending bit is one.
public struct EventRota: Hashable, Sendable {
    /// How many events of a domain are served between two calls of `refill()`.
    public let budget: Int
    /// By the domain's number.
    private var lanes: [Lane] = []
    /// Domains with a ready port and budget left, in the order of their turns.
    private var active = Line<DomainID>()
    /// Domains that have used up their budget.
    private var exhausted: [DomainID] = []
    /// Domains that have used some of it.
    private var used: [DomainID] = []
    /// By the port's number.
    private var isReady: [Bool] = []

    private struct Lane: Hashable, Sendable {
        var ports = Line<EventChannelPort>()
        var served = 0
        /// Whether it is in `active` or `exhausted`.
        var isQueued = false
    }

    /// The budget, if nothing else is said.
    public static let standardBudget = 128

    /// Makes a rota without ports. Traps unless `budget` is positive.
    public init(budget: Int = EventRota.standardBudget) {
        precondition(budget > 0, "a domain has at least one event")
        self.budget = budget
    }

    /// Whether no port is ready, not even one of a domain that has used up its budget.
    public var isEmpty: Bool { active.isEmpty && exhausted.isEmpty }

    /// A port has an event; false if it waits for its turn already.
    public mutating func add(_ port: EventChannelPort, of domain: DomainID) -> Bool {
        let number = Int(port.rawValue)
        while isReady.count <= number { isReady.append(false) }
        guard !isReady[number] else { return false }
        isReady[number] = true
        let index = Int(domain.rawValue)
        while lanes.count <= index { lanes.append(Lane()) }
        lanes[index].ports.append(port)
        queue(domain)
        return true
    }

    /// Takes the port whose turn it is; nil if there is none whose domain has budget left.
    public mutating func next() -> EventChannelPort? {
        guard let domain = active.popFirst() else { return nil }
        let index = Int(domain.rawValue)
        lanes[index].isQueued = false
        guard let port = lanes[index].ports.popFirst() else { return nil }
        isReady[Int(port.rawValue)] = false
        if lanes[index].served == 0 { used.append(domain) }
        lanes[index].served += 1
        queue(domain)
        return port
    }

    /// All else has had its turn: each domain has its whole budget again.
    public mutating func refill() {
        for domain in used { lanes[Int(domain.rawValue)].served = 0 }
        used.removeAll(keepingCapacity: true)
        for domain in exhausted { active.append(domain) }
        exhausted.removeAll(keepingCapacity: true)
    }

    private mutating func queue(_ domain: DomainID) {
        let index = Int(domain.rawValue)
        guard !lanes[index].isQueued, !lanes[index].ports.isEmpty else { return }
        lanes[index].isQueued = true
        if lanes[index].served < budget {
            active.append(domain)
        } else {
            exhausted.append(domain)
        }
    }
}

/// First come, first served; keeps its memory.
private struct Line<Element: Hashable & Sendable>: Hashable, Sendable {
    private var elements: [Element] = []
    private var start = 0

    var isEmpty: Bool { start == elements.count }

    mutating func append(_ element: Element) {
        if start > 32, start * 2 > elements.count {
            elements.removeFirst(start)
            start = 0
        }
        elements.append(element)
    }

    mutating func popFirst() -> Element? {
        guard start < elements.count else { return nil }
        defer {
            start += 1
            if start == elements.count {
                elements.removeAll(keepingCapacity: true)
                start = 0
            }
        }
        return elements[start]
    }
}
