// SPDX-License-Identifier: MIT

/// The reading end of a ring.
///
/// There is one consumer to a ring: the type cannot be copied, and it keeps its own index to itself. The producer's
/// index is read at most once an operation, and not at all when the last valid reading already holds the bytes asked
/// for; it is checked before it is believed (A15, A32). Bytes are copied out once and never looked at in the page:
/// the peer can change them at any moment (A33).
///
/// `read` takes bytes at once; `peek(into:)` and `advance(by:)` take them only after they were handed over, so that
/// a crash between the two repeats bytes instead of losing them. After taking more than no bytes the peer is
/// notified, since it may wait for room (A20).
@frozen
public struct RingConsumer<Memory: RingMemory>: ~Copyable {
    /// The shared memory.
    public let memory: Memory
    /// Where the ring lies in it.
    public let layout: RingLayout
    @usableFromInline
    var consumed: RingIndex
    /// The furthest valid index of the producer that was read.
    @usableFromInline
    var produced: RingIndex

    /// Begins on a page whose indices are zero and which the peer has not seen yet; reads nothing.
    @inlinable
    public init(fresh memory: Memory, layout: RingLayout) {
        self.memory = memory
        self.layout = layout
        consumed = RingIndex(0)
        produced = RingIndex(0)
    }

    /// Continues on a page that was in use, as after a restart: the own index is learnt from the page, this once (B7).
    ///
    /// Reads both indices once. Throws `RingViolation` if they do not fit each other.
    @inlinable
    public init(attaching memory: Memory, layout: RingLayout) throws(RingViolation) {
        let own = RingIndex(memory.loadRelaxed(at: layout.consumerIndex))
        let peer = RingIndex(memory.loadAcquire(at: layout.producerIndex))
        guard peer - own <= layout.capacity else {
            throw RingViolation(producer: peer, consumer: own, capacity: layout.capacity)
        }
        self.memory = memory
        self.layout = layout
        consumed = own
        produced = peer
    }

    /// Bytes the ring holds when full.
    @inlinable
    public var capacity: Int { Int(layout.capacity) }

    /// The own index: how many bytes were consumed since the page was fresh, modulo 2^32.
    @inlinable
    public var index: RingIndex { consumed }

    /// Bytes that can be read now. Reads the producer's index.
    @inlinable
    public mutating func count() throws(RingViolation) -> Int {
        try refresh(upTo: .max)
    }

    /// Whether there is nothing to read. Reads the producer's index only if the last reading held no more bytes.
    @inlinable
    public mutating func isEmpty() throws(RingViolation) -> Bool {
        if knownCount > 0 { return false }
        return try count() == 0
    }

    /// Whether the ring holds exactly its capacity. Reads the producer's index.
    @inlinable
    public mutating func isFull() throws(RingViolation) -> Bool {
        try count() == capacity
    }

    /// Reads into the front of `destination` and returns how many bytes; 0 when the ring is empty.
    ///
    /// Throws `RingViolation`, with nothing read, if the producer's index had to be read and is out of range.
    @inlinable
    @inline(__always)
    public mutating func read(into destination: inout MutableRawSpan) throws(RingViolation) -> Int {
        let count = try available(upTo: destination.byteCount)
        guard count > 0, let target = unsafe destination.start else { return 0 }
        let start = consumed
        // Kept before the copy, so that there is one value less to save across it. The peer sees only the release store.
        consumed = start + count
        unsafe copyOut(count, from: start, to: target)
        memory.storeRelease(consumed.rawValue, at: layout.consumerIndex)
        return count
    }

    /// Reads into the front of `destination`; see `read(into:)` for raw spans.
    @inlinable
    @inline(__always)
    public mutating func read(into destination: inout MutableSpan<UInt8>) throws(RingViolation) -> Int {
        var bytes = unsafe destination.mutableBytes
        return try read(into: &bytes)
    }

    /// Reads into the free space of `output` and returns how many bytes were appended; 0 when the ring is empty.
    @inlinable
    public mutating func read(appendingTo output: inout OutputSpan<UInt8>) throws(RingViolation) -> Int {
        let count = try available(upTo: output.freeCapacity)
        guard count > 0 else { return 0 }
        unsafe output.withUnsafeMutableBufferPointer { buffer, initialized in
            guard let start = buffer.baseAddress else { return }
            unsafe copyOut(count, from: consumed, to: UnsafeMutableRawPointer(start + initialized))
            initialized += count
        }
        release(count)
        return count
    }

    /// Copies the next bytes into the front of `destination` without taking them, and returns how many.
    ///
    /// `advance(by:)` takes them. Until then each call copies the same bytes again, and more as they arrive; what the
    /// peer changes in the page in between is seen.
    @inlinable
    @inline(__always)
    public mutating func peek(into destination: inout MutableRawSpan) throws(RingViolation) -> Int {
        let count = try available(upTo: destination.byteCount)
        guard count > 0, let start = unsafe destination.start else { return 0 }
        unsafe copyOut(count, from: consumed, to: start)
        return count
    }

    /// Copies the next bytes without taking them; see `peek(into:)` for raw spans.
    @inlinable
    @inline(__always)
    public mutating func peek(into destination: inout MutableSpan<UInt8>) throws(RingViolation) -> Int {
        var bytes = unsafe destination.mutableBytes
        return try peek(into: &bytes)
    }

    /// Takes `count` bytes that were peeked or counted before: the producer may write over them from now on.
    ///
    /// Traps if `count` is negative or more than was ever seen: no peer can make a count that was returned by `count()`
    /// or `peek(into:)`, and not taken since, too high.
    @inlinable
    public mutating func advance(by count: Int) {
        precondition(count >= 0 && count <= knownCount, "only bytes that were seen can be taken")
        if count > 0 {
            release(count)
        }
    }

    /// Whether there is nothing to read, looked at behind a full fence: the last look before sleeping until a
    /// notification.
    ///
    /// With it a producer of this library can leave out notifications that nobody needs
    /// (`RingProducer.mayHaveFallenAsleep(since:)`): either it sees that everything was taken, or this sees its bytes.
    @inlinable
    public mutating func maySleep() throws(RingViolation) -> Bool {
        memory.fence()
        return try count() == 0
    }

    @inlinable
    var knownCount: Int {
        Int(produced - consumed)
    }

    /// The number of bytes to copy, at most `limit`; reads the producer's index if it does not know of so many.
    @inlinable
    @inline(__always)
    mutating func available(upTo limit: Int) throws(RingViolation) -> Int {
        if knownCount >= limit { return limit }
        return try refresh(upTo: limit)
    }

    /// Reads the producer's index once and keeps it if it is valid and further than before; returns how many bytes there
    /// are, at most `limit`, which is more than is known of.
    ///
    /// A producer that takes its index back does not take back what was counted: a caller may already have peeked at
    /// those bytes, and `advance(by:)` must not trap because of what the peer did in between.
    @inlinable
    @inline(__always)
    mutating func refresh(upTo limit: Int) throws(RingViolation) -> Int {
        let peer = RingIndex(memory.loadAcquire(at: layout.producerIndex))
        let count = Int(peer - consumed)
        guard count <= capacity else {
            try refuse(peer)
        }
        if count >= limit {
            produced = peer
            return limit
        }
        if count <= knownCount { return knownCount }
        produced = peer
        return count
    }

    /// Throws, out of the way of the code that mostly does not.
    @inlinable
    @inline(never)
    func refuse(_ peer: RingIndex) throws(RingViolation) -> Never {
        throw RingViolation(producer: peer, consumer: consumed, capacity: layout.capacity)
    }

    /// Copies `count` bytes from `index` on, which were counted, to `destination`.
    @inlinable
    @inline(__always)
    func copyOut(_ count: Int, from index: RingIndex, to destination: UnsafeMutableRawPointer) {
        let position = index.position(in: layout)
        // The sum is at most 2^32 - 1: both are less than a ring, or one whole ring.
        if UInt32(truncatingIfNeeded: position &+ count) <= layout.capacity {
            let buffer = unsafe UnsafeMutableRawBufferPointer(start: destination, count: count)
            unsafe memory.copyOut(at: layout.data &+ position, into: buffer)
        } else {
            unsafe Self.copyAround(count, to: destination, from: memory, layout, at: position)
        }
    }

    /// Copies around the ring's end, in two pieces.
    @inlinable
    @inline(never)
    static func copyAround(
        _ count: Int,
        to destination: UnsafeMutableRawPointer,
        from memory: Memory,
        _ layout: RingLayout,
        at position: Int
    ) {
        let untilEnd = Int(layout.capacity) &- position
        let first = unsafe UnsafeMutableRawBufferPointer(start: destination, count: untilEnd)
        let second = unsafe UnsafeMutableRawBufferPointer(start: destination + untilEnd, count: count &- untilEnd)
        unsafe memory.copyOut(at: layout.data &+ position, into: first)
        unsafe memory.copyOut(at: layout.data, into: second)
    }

    /// Gives `count` bytes back to the producer, after the loads that copied them.
    @inlinable
    mutating func release(_ count: Int) {
        consumed = consumed + count
        memory.storeRelease(consumed.rawValue, at: layout.consumerIndex)
    }
}

extension MutableRawSpan {
    /// The address of the first byte, which is good for as long as the span is.
    @inlinable
    @inline(__always)
    var start: UnsafeMutableRawPointer? {
        mutating get { unsafe withUnsafeMutableBytes { $0.baseAddress } }
    }
}

extension RingConsumer: Sendable where Memory: Sendable {}
