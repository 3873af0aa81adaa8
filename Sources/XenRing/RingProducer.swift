// SPDX-License-Identifier: MIT

/// The writing end of a ring.
///
/// There is one producer to a ring: the type cannot be copied, and it keeps its own index to itself, so that a
/// peer that writes into it gains nothing. The consumer's index is read at most once an operation, and not at all when
/// the last valid reading already leaves room enough; it is checked before it is believed (A14, A32).
///
/// A short write is normal: `write(_:)` says how many bytes went in. After a write of more than no bytes the peer
/// is notified through the event channel (A20, A25), which is the caller's part.
///
/// ```swift
/// var producer = RingProducer(fresh: page, layout: .consoleOut)
/// let written = try producer.write("hello\n".utf8.span)
/// if written > 0 { notify(port) }
/// ```
@frozen
public struct RingProducer<Memory: RingMemory>: ~Copyable {
    /// The shared memory.
    public let memory: Memory
    /// Where the ring lies in it.
    public let layout: RingLayout
    @usableFromInline
    var produced: RingIndex
    /// The consumer's index when it was last read and found valid, and the capacity further on: as far as there is room.
    @usableFromInline
    var limit: RingIndex
    /// Up to here bytes go in without another look: there was room, and the ring's end is not in between.
    @usableFromInline
    var ahead: RingIndex

    /// Begins on a page whose indices are zero and which the peer has not seen yet; reads nothing.
    @inlinable
    public init(fresh memory: Memory, layout: RingLayout) {
        self.memory = memory
        self.layout = layout
        produced = RingIndex(0)
        limit = RingIndex(0) + Int(layout.capacity)
        ahead = RingIndex(0)
    }

    /// Continues on a page that was in use, as after a restart: the own index is learnt from the page, this once (B7).
    ///
    /// Reads both indices once. Throws `RingViolation` if they do not fit each other.
    @inlinable
    public init(attaching memory: Memory, layout: RingLayout) throws(RingViolation) {
        let own = RingIndex(memory.loadRelaxed(at: layout.producerIndex))
        let peer = RingIndex(memory.loadAcquire(at: layout.consumerIndex))
        guard own - peer <= layout.capacity else {
            throw RingViolation(producer: own, consumer: peer, capacity: layout.capacity)
        }
        self.memory = memory
        self.layout = layout
        produced = own
        limit = peer + Int(layout.capacity)
        ahead = own
    }

    /// Bytes the ring holds when full.
    @inlinable
    public var capacity: Int { Int(layout.capacity) }

    /// The own index: how many bytes were produced since the page was fresh, modulo 2^32.
    @inlinable
    public var index: RingIndex { produced }

    /// Bytes that can be written now. Reads the consumer's index.
    @inlinable
    public mutating func freeCapacity() throws(RingViolation) -> Int {
        let free = try refresh()
        _ = lookAhead(free)
        return free
    }

    /// Whether no byte can be written now. Reads the consumer's index only if the last reading left no room.
    @inlinable
    public mutating func isFull() throws(RingViolation) -> Bool {
        if knownFreeCapacity > 0 { return false }
        return try freeCapacity() == 0
    }

    /// Whether the consumer has taken everything. Reads its index.
    @inlinable
    public mutating func isEmpty() throws(RingViolation) -> Bool {
        try freeCapacity() == capacity
    }

    /// Writes as many of `bytes` as fit and returns how many that was; 0 when the ring is full.
    ///
    /// Throws `RingViolation`, with nothing written, if the consumer's index had to be read and is out of range.
    @inlinable
    @inline(__always)
    public mutating func write(_ bytes: RawSpan) throws(RingViolation) -> Int {
        var count = bytes.byteCount
        guard let source = unsafe bytes.start else { return 0 }
        let start = produced
        var isStraight = true
        // One comparison for both: there is something to write, and nothing in the way.
        if UInt(bitPattern: count &- 1) >= UInt(ahead - start) {
            var free = knownFreeCapacity
            if free < count {
                free = try refresh()
                count = min(free, count)
            }
            if count == 0 {
                // A consumer that took its index back leaves less room than there was.
                ahead = start
                return 0
            }
            isStraight = count <= lookAhead(free)
        }
        // Kept before the copy, so that there is one value less to save across it. The peer sees only the release store.
        produced = start + count
        if isStraight {
            let bytes = unsafe UnsafeRawBufferPointer(start: source, count: count)
            unsafe memory.copyIn(bytes, at: layout.data &+ start.position(in: layout))
        } else {
            unsafe copyAround(source, count, from: start)
        }
        memory.storeRelease(produced.rawValue, at: layout.producerIndex)
        return count
    }

    /// Writes as many of `bytes` as fit and returns how many that was; see `write(_:)` for raw spans.
    @inlinable
    @inline(__always)
    public mutating func write(_ bytes: Span<UInt8>) throws(RingViolation) -> Int {
        try unsafe write(bytes.bytes)
    }

    /// Writes all of `bytes` or none of them, and returns whether they went in.
    ///
    /// Traps if `bytes` is longer than the ring, since that could never succeed.
    @inlinable
    public mutating func writeAll(_ bytes: RawSpan) throws(RingViolation) -> Bool {
        precondition(bytes.byteCount <= capacity, "more bytes than the ring can ever hold")
        if knownFreeCapacity < bytes.byteCount, try freeCapacity() < bytes.byteCount { return false }
        return try write(bytes) == bytes.byteCount
    }

    /// Writes all of `bytes` or none of them; see `writeAll(_:)` for raw spans.
    @inlinable
    public mutating func writeAll(_ bytes: Span<UInt8>) throws(RingViolation) -> Bool {
        try unsafe writeAll(bytes.bytes)
    }

    /// Whether the peer must be notified of what was written; call it after writing.
    ///
    /// False only if the consumer has already taken every byte: the one reason that holds against any peer. That it had
    /// drained the ring before, or still has bytes unread, is none, since it may look at the index once an event (A17).
    /// No fence is needed: the consumer's index can equal the own one only after the consumer has seen it, and an older
    /// value costs a notification too many at worst.
    @inlinable
    public func needsNotification() -> Bool {
        RingIndex(memory.loadRelaxed(at: layout.consumerIndex)) != produced
    }

    /// Whether a consumer that is known to call `RingConsumer.maySleep()` before it sleeps may have done so before what
    /// was written since the own index stood at `index`; a full fence is inside.
    ///
    /// For two ends of this library only: a foreign consumer may look at the index once an event, and then needs
    /// `needsNotification()`. The consumer is awake, and will look again by itself, if it still had bytes from before
    /// `index` to take. Call it after each write that is to be noticed, with the index before that write.
    @inlinable
    public func mayHaveFallenAsleep(since index: RingIndex) -> Bool {
        memory.fence()
        let peer = RingIndex(memory.loadRelaxed(at: layout.consumerIndex))
        let untaken = produced - peer
        // An index that makes no sense is no reason to leave anybody asleep.
        return untaken > layout.capacity || (untaken != 0 && untaken <= produced - index)
    }

    @inlinable
    var knownFreeCapacity: Int {
        Int(limit - produced)
    }

    /// Reads the consumer's index once, keeps it if it is valid, and returns how many bytes can be written. `lookAhead(_:)`
    /// comes next.
    @inlinable
    @inline(__always)
    mutating func refresh() throws(RingViolation) -> Int {
        let peer = RingIndex(memory.loadAcquire(at: layout.consumerIndex))
        let end = peer + capacity
        let free = Int(end - produced)
        guard free <= capacity else {
            try refuse(peer)
        }
        limit = end
        return free
    }

    /// Throws, out of the way of the code that mostly does not.
    @inlinable
    @inline(never)
    func refuse(_ peer: RingIndex) throws(RingViolation) -> Never {
        throw RingViolation(producer: produced, consumer: peer, capacity: layout.capacity)
    }

    /// Remembers how far nothing is in the way, with room for `free` bytes; returns how far the ring's end is.
    @inlinable
    @inline(__always)
    mutating func lookAhead(_ free: Int) -> Int {
        let untilEnd = capacity &- produced.position(in: layout)
        ahead = produced + min(free, untilEnd)
        return untilEnd
    }

    /// Reads the consumer's index, and returns how many bytes somebody else may copy in now, until `endCopy(at:)`.
    @inlinable
    @inline(__always)
    mutating func beginCopy() throws(RingViolation) -> Int {
        let free = try refresh()
        ahead = produced
        return free
    }

    /// Publishes what was copied in, up to `index`.
    @inlinable
    @inline(__always)
    mutating func endCopy(at index: RingIndex) {
        guard index != produced else { return }
        (produced, ahead) = (index, index)
        memory.storeRelease(index.rawValue, at: layout.producerIndex)
    }

    /// Copies `count` bytes around the ring's end, in two pieces.
    @inlinable
    @inline(never)
    mutating func copyAround(_ source: UnsafeRawPointer, _ count: Int, from start: RingIndex) {
        let position = start.position(in: layout)
        let untilEnd = capacity &- position
        let first = unsafe UnsafeRawBufferPointer(start: source, count: untilEnd)
        let second = unsafe UnsafeRawBufferPointer(start: source + untilEnd, count: count &- untilEnd)
        unsafe memory.copyIn(first, at: layout.data &+ position)
        unsafe memory.copyIn(second, at: layout.data)
        ahead = start + count
    }
}

extension RawSpan {
    /// The address of the first byte, which is good for as long as the span is.
    @inlinable
    @inline(__always)
    var start: UnsafeRawPointer? {
        unsafe withUnsafeBytes { $0.baseAddress }
    }
}

extension RingProducer: Sendable where Memory: Sendable {}
