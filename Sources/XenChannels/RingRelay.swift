// SPDX-License-Identifier: MIT

public import XenRing

/// The way of bytes between a console ring and what stands on this side of it, without input or output of its own.
///
/// Towards the outside, bytes are drained from the ring into a backlog, up to `limit`; when that is full the policy says what happens. They wait
/// there while nobody listens, and reach the first who does. Or they are peeked at in the ring, handed over, and taken then. Towards the ring,
/// no more is accepted than it has room for, so that the rest stays where it came from: nothing is lost and nothing grows.
///
/// Every function that moved bytes says so: the peer is notified then, and only then (A20, A25).
public struct RingRelay: Hashable, Sendable {
    @usableFromInline
    var waiting = ByteQueue()
    @usableFromInline
    var counts = RelayStatistics()
    @usableFromInline
    var lastViolation: RingViolation?
    /// How many bytes the backlog may hold, at most `RingRelay.maximumLimit`: more is taken for that.
    public var limit: Int {
        didSet { limit = min(limit, RingRelay.maximumLimit) }
    }
    /// The highest limit: 1 GiB.
    public static let maximumLimit = ByteQueue.maximumCount / 2
    /// What happens when it holds as many.
    public var policy: OverflowPolicy
    @usableFromInline
    var stall = Stall.none
    @usableFromInline
    var mustDisconnect = false

    /// How the peer's bytes fare.
    @usableFromInline
    enum Stall: Hashable, Sendable {
        case none
        /// There are some in the ring for which there is no room.
        case blocked
        /// That was so for too long, and nobody has taken a byte since.
        case relieved
    }

    /// Bytes of the peer that were taken from the ring and not yet handed out.
    @inlinable
    public var backlog: ByteQueue { waiting }

    /// What was done so far.
    public var statistics: RelayStatistics { counts }

    /// The last violation, until an operation on the same ring succeeds.
    public var violation: RingViolation? { lastViolation }

    /// Whether there were bytes in the ring, when it was last drained, for which there was no room.
    @inlinable
    public var isBlocked: Bool { stall != .none }

    /// How long after bytes found no room the ring is looked at again, though no event said that there is some: a peer may take bytes and
    /// never tell (A21, A22).
    ///
    /// It looks as long as bytes wait. Such a peer gets a ring full of bytes with each look, no later than this after it made room.
    public static let roomPollInterval = Duration.milliseconds(20)

    /// Makes a relay whose backlog holds at most `limit` bytes. Traps unless `limit` is positive.
    public init(limit: Int, policy: OverflowPolicy = .blockForever) {
        precondition(limit > 0, "a relay needs room for a byte")
        self.limit = min(limit, RingRelay.maximumLimit)
        self.policy = policy
    }

    /// Takes what the peer has produced, as far as the backlog has room or the policy says; returns whether the peer must be notified.
    @inlinable
    public mutating func drain(_ ring: inout ConsoleRing<some RingMemory>) -> Bool {
        do throws(RingViolation) {
            let count = try ring.input.count()
            guard count <= limit - waiting.count else { return try drainBeyondLimit(&ring, count) }
            if stall == .blocked { stall = .none }
            guard count > 0 else { return counted(0) }
            return try take(count, from: &ring)
        } catch {
            note(error)
            return false
        }
    }

    @inlinable
    mutating func take(_ count: Int, from ring: inout ConsoleRing<some RingMemory>) throws(RingViolation) -> Bool {
        try waiting.append(count) { room throws(RingViolation) in
            _ = try ring.input.read(into: &room)
        }
        counts.bytesFromRing &+= UInt64(count)
        return counted(count)
    }

    /// Takes `count` bytes that `drain(_:)` counted, as `policy` says.
    @inlinable
    @inline(never)
    mutating func drainBeyondLimit(
        _ ring: inout ConsoleRing<some RingMemory>,
        _ count: Int
    ) throws(RingViolation) -> Bool {
        switch relief {
        case nil:
            stall = .blocked
            let room = limit - waiting.count
            return room > 0 ? try take(room, from: &ring) : counted(0)
        case .dropMiddle(let rule):
            let hasTaken = try take(count, from: &ring)
            if let cut = rule.cut(of: waiting.count, limit: limit) {
                waiting.remove(cut)
                noteDropped(cut.count)
            }
            return hasTaken
        case .disconnect:
            noteDropped(waiting.count)
            waiting.removeFirst(waiting.count)
            mustDisconnect = true
            return try take(min(count, limit), from: &ring)
        }
    }

    /// Takes `count` bytes off the backlog: they were handed out.
    @inlinable
    public mutating func handedOut(_ count: Int) {
        waiting.removeFirst(count)
        if count > 0 { stall = .none }
    }

    /// Takes `count` bytes off the backlog as `handedOut(_:)` does; the memory of an empty one goes to `spare`.
    @inlinable
    public mutating func handedOut(_ count: Int, giving spare: inout SpareMemory) {
        waiting.take(count) { _ in }
        if waiting.isEmpty { waiting.trim(giving: &spare) }
        if count > 0 { stall = .none }
    }

    /// Takes what the peer has produced as `drain(_:)` does; an empty backlog uses memory of `spare`.
    @inlinable
    public mutating func drain(_ ring: inout ConsoleRing<some RingMemory>, using spare: inout SpareMemory) -> Bool {
        waiting.useMemory(of: &spare)
        let hasTaken = drain(&ring)
        if waiting.isEmpty { waiting.trim(giving: &spare) }
        return hasTaken
    }

    /// Gives back the memory that an empty backlog keeps.
    public mutating func trim() {
        waiting.trim()
    }

    /// The ring is about to be left: what is in it may wait beyond `limit`, since there is no other place for it.
    public mutating func allowRest(of ring: borrowing ConsoleRing<some RingMemory>) {
        limit += ring.input.capacity
    }

    // MARK: Without a backlog

    // Never inlined: the compiler fails otherwise (6.3.1, CopyPropagation).
    /// Shows the next bytes of the peer without taking them, and returns how many; none if its index is out of range.
    @inlinable
    @inline(never)
    public mutating func peek(
        _ ring: inout ConsoleRing<some RingMemory>,
        into buffer: inout MutableSpan<UInt8>
    ) -> Int {
        do throws(RingViolation) {
            let count = try ring.input.peek(into: &buffer)
            lastViolation = nil
            return count
        } catch {
            note(error)
            return 0
        }
    }

    /// Takes bytes that were peeked at and handed over; returns whether the peer must be notified.
    @inlinable
    public mutating func advance(by count: Int, in ring: inout ConsoleRing<some RingMemory>) -> Bool {
        ring.input.advance(by: count)
        counts.bytesFromRing &+= UInt64(count)
        if count > 0 { stall = .none }
        return counted(count)
    }

    /// Nobody takes what is in the ring: does what the policy says if the peer may wait for room. Returns whether it must be notified.
    ///
    /// There is no middle to drop from a ring, so that all goes that is in it.
    public mutating func leave(in ring: inout ConsoleRing<some RingMemory>) -> Bool {
        do throws(RingViolation) {
            let count = try ring.input.count()
            guard count == ring.input.capacity else { return false }
            switch relief {
            case nil:
                stall = .blocked
                return false
            case .dropMiddle: break
            case .disconnect: mustDisconnect = true
            }
            ring.input.advance(by: count)
            noteDropped(count)
            counts.bytesFromRing &+= UInt64(count)
            return counted(count)
        } catch {
            note(error)
            return false
        }
    }

    // MARK: When nobody takes them

    /// How long to wait, from when this is first set and from each time bytes are handed out, before `deadlinePassed()`; nil while there is no
    /// need to.
    public var deadline: Duration? {
        guard stall == .blocked, case .block(let deadline, _) = policy else { return nil }
        return deadline
    }

    /// The deadline passed, and no byte was handed out meanwhile.
    public mutating func deadlinePassed() {
        if stall == .blocked { stall = .relieved }
    }

    /// Whether somebody is to be disconnected for not taking bytes; says so once.
    public mutating func takeDisconnection() -> Bool {
        defer { mustDisconnect = false }
        return mustDisconnect
    }

    /// What to do instead of having the peer wait.
    @usableFromInline
    var relief: OverflowRelief? {
        switch policy {
        case .block(_, let then): stall == .relieved ? then : nil
        case .dropMiddle(let rule): .dropMiddle(rule)
        case .disconnect: .disconnect
        }
    }

    @usableFromInline
    mutating func noteDropped(_ count: Int) {
        counts.bytesDropped &+= UInt64(count)
        counts.overflows &+= 1
    }

    // MARK: Towards the peer

    /// How many bytes can go towards the peer now; none if its index is out of range.
    ///
    /// As many can be given to `send(_:to:)` afterwards, whatever the peer does in between.
    @inlinable
    public mutating func room(in ring: inout ConsoleRing<some RingMemory>) -> Int {
        do throws(RingViolation) {
            let room = try ring.output.freeCapacity()
            lastViolation = nil
            return room
        } catch {
            note(error)
            return 0
        }
    }

    /// Puts bytes into the ring, no more than `room(in:)` returned; returns whether the peer must be notified.
    @inlinable
    public mutating func send(_ bytes: Span<UInt8>, to ring: inout ConsoleRing<some RingMemory>) -> Bool {
        RingRelay.put(bytes, into: &ring)
        return countedToRing(bytes.count)
    }

    @inlinable
    @inline(__always)
    static func put(_ bytes: Span<UInt8>, into ring: inout ConsoleRing<some RingMemory>) {
        do throws(RingViolation) {
            let count = try ring.output.write(bytes)
            precondition(count == bytes.count, "more bytes than there was room for")
        } catch {
            preconditionFailure("room that was found needs no second look at the peer's index")
        }
    }

    @inlinable
    mutating func countedToRing(_ count: Int) -> Bool {
        counts.bytesToRing &+= UInt64(count)
        return counted(count)
    }

    /// Puts the oldest `count` bytes of a queue into the ring, no more than `room(in:)` returned; returns whether the peer must be notified.
    @inlinable
    public mutating func send(
        _ count: Int,
        of bytes: inout ByteQueue,
        to ring: inout ConsoleRing<some RingMemory>
    ) -> Bool {
        bytes.take(count) { send($0, to: &ring) }
    }

    @inlinable
    mutating func counted(_ count: Int) -> Bool {
        lastViolation = nil
        if count > 0 { counts.notifications &+= 1 }
        return count > 0
    }

    @inlinable
    mutating func note(_ violation: RingViolation) {
        lastViolation = violation
        counts.violations &+= 1
    }
}
