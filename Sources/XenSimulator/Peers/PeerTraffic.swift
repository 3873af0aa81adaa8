// SPDX-License-Identifier: MIT

import XenChannels
import XenRing

/// The bytes of a peer's device, between its ring and its program, with the peer's habits.
struct PeerTraffic {
    /// What is to be looked at.
    struct Look: OptionSet, Hashable {
        let rawValue: UInt8
        /// The ring from the other side.
        static let take = Look(rawValue: 1)
        /// The program, for what was taken.
        static let hand = Look(rawValue: 2)
        /// The ring to the other side, for what the program has written.
        static let put = Look(rawValue: 4)
        static let all: Look = [.take, .hand, .put]
    }

    let habits: PeerRingHabits
    private let side: ConsoleRole
    var ring: PeerRing?
    var pipe: Pipe?
    /// Bytes that were taken and not handed on.
    var buffer = ByteQueue()
    var look: Look = []
    var mustTell = false
    /// Bytes were thrown away.
    private(set) var hasLostBytes = false
    /// Bytes wait for room in the ring.
    private(set) var isWaiting = false
    /// How often in a row the ring was found full.
    private var looksInVain = 0
    /// It met indices that make no sense, and did not survive that (A31).
    private(set) var isDead = false
    var limit: Int
    /// Events taken in the current period (A29).
    private var events = 0
    private var periodEnd = Duration.zero
    private var isLimited = false

    /// How often a full ring is looked at again by itself: who spins for ever would keep the world from coming to rest.
    private static let patience = 5000
    /// How much time passes meanwhile.
    static let pollInterval = Duration.milliseconds(1)

    init(_ habits: PeerRingHabits, _ side: ConsoleRole) {
        self.habits = habits
        self.side = side
        limit = habits.limit
    }

    var hasWork: Bool { ring != nil && !isDead && (!look.isEmpty || mustTell) }
    /// The processor does nothing but look at a full ring (A26, R13).
    var isSpinning: Bool { isWaiting && habits.full == .spins }
    /// When it goes on by itself; zero for soon.
    var nextLook: Duration? {
        if isLimited { return periodEnd }
        return looksAgain ? .zero : nil
    }
    private var looksAgain: Bool {
        isWaiting && (habits.full == .spins || habits.full == .polls) && looksInVain < PeerTraffic.patience
    }
    var holdsBytes: Bool { !buffer.isEmpty || !(pipe?.inward.isEmpty ?? true) }

    /// How much it would take from the ring.
    var takeRoom: Int {
        guard side == .backend else { return max(0, (pipe?.outwardRoom ?? 0) - buffer.count) }
        switch habits.sink {
        case .stops: return buffer.count < limit ? .max : 0
        case .dropsMiddle, .dropsHalf, .dropsNewest: return .max
        }
    }

    /// Whether an event is taken now, or kept for the next period (A29).
    mutating func admits(at now: Duration) -> Bool {
        guard let allowance = habits.eventsPerPeriod else { return true }
        if now >= periodEnd {
            periodEnd = now + PeerRingHabits.period
            events = 0
        }
        events += 1
        isLimited = events > allowance
        return !isLimited
    }

    /// Time has passed.
    mutating func timePassed(_ now: Duration) {
        if isLimited, now >= periodEnd {
            isLimited = false
            look = .all
        }
        if looksAgain { look.insert(.put) }
    }

    /// Does the first thing that is to be looked at.
    mutating func step(_ world: World) {
        if look.contains(.take) {
            look.remove(.take)
            take(world)
        } else if look.contains(.hand) {
            look.remove(.hand)
            hand(world)
        } else {
            look.remove(.put)
            put(world)
        }
    }

    private mutating func take(_ world: World) {
        guard let ring, habits.servesWhileWaiting || !isWaiting, !isSpinning else { return }
        guard let count = ring.count else { return meetsNonsense(world) }
        let moved = min(count, takeRoom)
        if moved > 0 {
            let bytes = ring.take(moved)
            buffer.append(bytes.span)
            look.insert(.hand)
            trim(world)
        }
        if habits.afterConsuming == .always || (habits.afterConsuming == .ifMoved && moved > 0) { mustTell = true }
        world.note("takes \(moved) from the ring")
    }

    /// Throws away what is beyond the limit (A27).
    private mutating func trim(_ world: World) {
        guard side == .backend, buffer.count > limit, let lost = excess else { return }
        hasLostBytes = true
        var kept = ByteQueue()
        buffer.withBytes { bytes in
            kept.append(bytes.extracting(0..<lost.lowerBound))
            kept.append(bytes.extracting(lost.upperBound..<bytes.count))
        }
        buffer = kept
        world.note("throws away \(lost.count)")
    }

    /// Which bytes of those beyond the limit it throws away.
    private var excess: Range<Int>? {
        let count = buffer.count - limit
        switch habits.sink {
        case .stops: return nil
        case .dropsMiddle: return max(0, limit - count)..<max(limit, count)
        case .dropsHalf: return count > limit / 4 ? limit / 2..<limit : nil
        case .dropsNewest: return limit..<buffer.count
        }
    }

    private mutating func hand(_ world: World) {
        guard let pipe else { return }
        let count = min(buffer.count, pipe.outwardRoom)
        guard count > 0 else { return }
        buffer.withBytes { pipe.outward.append($0.extracting(0..<count)) }
        buffer.removeFirst(count)
        if side == .frontend || habits.sink == .stops { look.insert(.take) }
        world.wake(pipe.program)
        world.note("hands out \(count)", to: pipe.program)
    }

    private mutating func put(_ world: World) {
        guard let pipe, let ring, !pipe.inward.isEmpty else { return }
        guard let room = ring.room else { return meetsNonsense(world) }
        let count = min(room, pipe.inward.count, habits.piece)
        guard count > 0 else { return findsFull(pipe, world) }
        pipe.inward.withBytes { ring.put($0.extracting(0..<count)) }
        pipe.inward.removeFirst(count)
        if isWaiting { look.insert(.take) }
        isWaiting = false
        looksInVain = 0
        if habits.afterProducing != .never { mustTell = true }
        if !pipe.inward.isEmpty { look.insert(.put) }
        world.wake(pipe.program)
        world.note("puts \(count) into the ring")
    }

    private mutating func findsFull(_ pipe: Pipe, _ world: World) {
        switch habits.full {
        case .drops:
            let count = pipe.inward.count
            pipe.inward.removeFirst(count)
            hasLostBytes = true
            world.note("finds the ring full, and drops \(count)")
        case .spins, .polls, .waits:
            isWaiting = true
            looksInVain += 1
            world.note("finds the ring full")
        }
    }

    private mutating func meetsNonsense(_ world: World) {
        isDead = habits.nonsense == .dies
        world.note(isDead ? "dies of indices that make no sense" : "passes over indices that make no sense")
    }
}
