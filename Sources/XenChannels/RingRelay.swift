// SPDX-License-Identifier: MIT

public import XenRing

/// What a relay did, counted since it was made.
public struct RelayStatistics: Hashable, Sendable {
    /// Bytes taken from the ring.
    public var bytesFromRing: UInt64 = 0
    /// Bytes put into the ring.
    public var bytesToRing: UInt64 = 0
    /// Notifications that had a reason: bytes taken or put.
    public var notifications: UInt64 = 0
    /// Operations that found the peer's index out of range (A31).
    public var violations: UInt64 = 0

    /// Starts at zero.
    public init() {}
}

/// The way of bytes between a console ring and what stands on this side of it, without input or output of its own.
///
/// Towards the outside, bytes are drained from the ring into a backlog, up to `limit`; when that is full the ring fills and the peer waits.
/// They wait there while nobody listens, and reach the first who does. Towards the ring, no more is accepted than it has room for, so that
/// the rest stays where it came from: nothing is lost and nothing grows.
///
/// Every function that moved bytes says so: the peer is notified then, and only then (A20, A25).
public struct RingRelay: Hashable, Sendable {
    @usableFromInline
    var waiting = ByteQueue()
    @usableFromInline
    var counts = RelayStatistics()
    @usableFromInline
    var lastViolation: RingViolation?
    /// How many bytes the backlog may hold.
    public var limit: Int

    /// Bytes of the peer that were taken from the ring and not yet handed out.
    @inlinable
    public var backlog: ByteQueue { waiting }

    /// What was done so far.
    public var statistics: RelayStatistics { counts }

    /// The last violation, until an operation on the same ring succeeds.
    public var violation: RingViolation? { lastViolation }

    /// Makes a relay whose backlog holds at most `limit` bytes. Traps unless `limit` is positive.
    public init(limit: Int) {
        precondition(limit > 0, "a relay needs room for a byte")
        self.limit = limit
    }

    /// Takes what the peer has produced, as far as the backlog has room; returns whether the peer must be notified.
    @inlinable
    public mutating func drain(_ ring: inout ConsoleRing<some RingMemory>) -> Bool {
        let room = min(limit - waiting.count, ring.input.capacity)
        guard room > 0 else { return false }
        do throws(RingViolation) {
            let count = min(try ring.input.count(), room)
            guard count > 0 else { return counted(0) }
            try waiting.append(upTo: count) { output throws(RingViolation) in
                _ = try ring.input.read(appendingTo: &output)
            }
            counts.bytesFromRing &+= UInt64(count)
            return counted(count)
        } catch {
            note(error)
            return false
        }
    }

    /// Takes `count` bytes off the backlog: they were handed out.
    @inlinable
    public mutating func handedOut(_ count: Int) {
        waiting.removeFirst(count)
    }

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
        do throws(RingViolation) {
            let count = try ring.output.write(bytes)
            precondition(count == bytes.count, "more bytes than there was room for")
            counts.bytesToRing &+= UInt64(count)
            return counted(count)
        } catch {
            preconditionFailure("room that was found needs no second look at the peer's index")
        }
    }

    /// Puts the oldest bytes of the backlog back into the ring they came over, as many as there is room for.
    ///
    /// Returns whether the peer must be notified: what an echo does.
    @inlinable
    public mutating func giveBack(to ring: inout ConsoleRing<some RingMemory>) -> Bool {
        let count = min(room(in: &ring), waiting.count)
        guard count > 0 else { return false }
        // Taken out while it is read from, so that it is not copied.
        var bytes = ByteQueue()
        swap(&bytes, &waiting)
        let hasMoved = bytes.withBytes { send($0.extracting(first: count), to: &ring) }
        bytes.removeFirst(count)
        swap(&bytes, &waiting)
        return hasMoved
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
