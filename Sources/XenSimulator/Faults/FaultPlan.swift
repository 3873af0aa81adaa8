// SPDX-License-Identifier: MIT

public import XenExploration

/// Which faults strike how often in a run: each by a probability, or at occasions that are written down.
public struct FaultPlan: Hashable, Sendable {
    /// When a fault strikes.
    public enum Rule: Hashable, Sendable {
        /// Never.
        case never
        /// With a probability of so many in a thousand, at each occasion.
        case perMille(Int)
        /// At these occasions, counted from 0.
        case occasions([Int])
    }

    private var rules = [Rule](repeating: .never, count: Fault.allCases.count)
    /// How many faults may strike in one run; scripted ones do not count.
    public var limit = 12

    /// No faults.
    public init() {}

    /// The given faults, each with a probability that suits it.
    public init(_ faults: [Fault]) {
        for fault in faults { self[fault] = .perMille(FaultPlan.usual(fault)) }
    }

    /// When a fault strikes.
    public subscript(fault: Fault) -> Rule {
        get { rules[fault.rawValue] }
        set { rules[fault.rawValue] = newValue }
    }

    /// The faults that may strike, in the order of their declaration.
    public var faults: [Fault] { Fault.allCases.filter { self[$0] != .never } }

    private static func usual(_ fault: Fault) -> Int {
        switch fault {
        case .eventDelayed, .watchDelayed: 100
        case .eventSpurious, .watchRepeated: 20
        case .droppedEvent, .portRefused, .mapFailed: 50
        case .storeAgain, .storeConflict: 100
        case .storeQuota, .storeAccessDenied, .storeNoEntry: 4
        case .backendCrash, .toolstackCrash, .guestCrash, .saveRestore: 1
        case .guestPause, .frontendClose, .backendClose, .backendStall, .clientSlow, .clientVanish: 3
        case .clientFlood: 1
        case .hostileIndices, .hostileData, .hostileNodes: 5
        case .otherStore: 500
        }
    }
}

/// The one source of chance in a world: its choices, and the faults they bring about.
///
/// Shared by the scheduler, the actors and the wrappers around the services, so that one record of choices tells the whole run.
public final class Chance {
    /// Where all decisions of the world come from.
    public var choices: Choices {
        unsafeAddress { unsafe choicesSlot.reading }
        unsafeMutableAddress { unsafe choicesSlot.writing }
    }
    private let choicesSlot: Slot<Choices>
    /// Which faults strike.
    public let plan: FaultPlan
    /// How often each fault has struck, by its number.
    public private(set) var struck = [Int](repeating: 0, count: Fault.allCases.count)
    private var occasions = [Int](repeating: 0, count: Fault.allCases.count)
    private var left: Int
    /// Whether the plan has any fault at all: asked at every request and event, of plans that mostly have none.
    private let mayStrike: Bool
    /// False while a world is being taken apart: then nothing goes wrong any more.
    public var isActive = true

    /// Begins with `choices`.
    public init(_ choices: Choices, plan: FaultPlan = FaultPlan()) {
        choicesSlot = Slot(choices)
        self.plan = plan
        left = plan.limit
        mayStrike = !plan.faults.isEmpty
    }

    /// Whether a fault strikes at this occasion; takes a decision only if that is left to chance.
    public func strikes(_ fault: Fault) -> Bool {
        mayStrike && isDue(fault)
    }

    private func isDue(_ fault: Fault) -> Bool {
        switch plan[fault] {
        case .never:
            return false
        case .perMille(let part):
            guard isActive, left > 0, choices.chance(part, in: 1000) else { return false }
            left -= 1
        case .occasions(let numbers):
            occasions[fault.rawValue] += 1
            guard isActive, numbers.contains(occasions[fault.rawValue] - 1) else { return false }
        }
        struck[fault.rawValue] += 1
        return true
    }

    /// Notes that a fault has struck.
    func note(_ fault: Fault) {
        struck[fault.rawValue] += 1
    }

    /// Whether any fault has struck that may keep a channel from working for good.
    public var isDamaged: Bool { Fault.allCases.contains { $0.isDamaging && struck[$0.rawValue] > 0 } }

    func hash(into hasher: inout Hasher) {
        hasher.combine(struck)
        hasher.combine(left)
        hasher.combine(isActive)
    }
}
