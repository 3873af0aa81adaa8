// SPDX-License-Identifier: MIT

/// Bytes in order, appended at the end and taken from the front, in one piece of memory.
///
/// An empty queue keeps a little memory for the next bytes, and no more, so that steady traffic allocates nothing and a
/// thousand idle channels cost nothing.
public struct ByteQueue: Hashable, Sendable {
    @usableFromInline
    var storage: [UInt8] = []
    @usableFromInline
    var start = 0

    /// Makes an empty queue, without memory.
    @inlinable
    public init() {}

    /// How many bytes wait.
    @inlinable
    public var count: Int { storage.count - start }

    /// Whether none wait.
    @inlinable
    public var isEmpty: Bool { count == 0 }

    /// Appends up to `count` bytes that `fill` writes.
    @inlinable
    public mutating func append<Failure: Error>(
        upTo count: Int,
        filledBy fill: (inout OutputSpan<UInt8>) throws(Failure) -> Void
    ) throws(Failure) {
        compact()
        let needed = storage.count + count
        if needed > storage.capacity {
            // Twice as much each time, so that each byte is moved a bounded number of times.
            storage.reserveCapacity(max(needed, 2 * storage.capacity))
        }
        try storage.append(addingCapacity: count, initializingWith: fill)
    }

    /// Appends all of `bytes`.
    @inlinable
    public mutating func append(_ bytes: Span<UInt8>) {
        append(upTo: bytes.count) { output in
            for index in bytes.indices { output.append(bytes[index]) }
        }
    }

    /// Shows the bytes that wait, oldest first.
    @inlinable
    public func withBytes<Failure: Error, Result>(
        _ body: (Span<UInt8>) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try body(storage.span.extracting(start..<storage.count))
    }

    /// Takes the oldest `count` bytes away. Traps if there are fewer.
    @inlinable
    public mutating func removeFirst(_ count: Int) {
        precondition(count >= 0 && count <= self.count, "no more bytes can be taken than wait")
        start += count
        if start == storage.count {
            storage.removeAll(keepingCapacity: storage.capacity <= ByteQueue.keptCapacity)
            start = 0
        }
    }

    /// Takes bytes from within away, counted from the oldest. Traps if they do not all wait.
    public mutating func remove(_ range: Range<Int>) {
        precondition(range.lowerBound >= 0 && range.upperBound <= count, "no more bytes can be taken than wait")
        storage.removeSubrange((start + range.lowerBound)..<(start + range.upperBound))
        if isEmpty { removeFirst(0) }
    }

    /// Shows the oldest `count` bytes, and takes them away. Traps if there are fewer.
    ///
    /// An empty queue keeps all its memory here: `trim(giving:)` is to be called then.
    @inlinable
    @inline(__always)
    mutating func take<Result>(_ count: Int, _ body: (Span<UInt8>) -> Result) -> Result {
        precondition(count >= 0 && count <= self.count, "no more bytes can be taken than wait")
        defer {
            start += count
            if start == storage.count {
                storage.removeAll(keepingCapacity: true)
                start = 0
            }
        }
        return body(storage.span.extracting(start..<(start + count)))
    }

    /// Moves bytes that need but a small part of the memory they are in to memory of their own, and gives the large piece to `spare`; no bytes
    /// need none.
    @inlinable
    public mutating func trim(giving spare: inout SpareMemory) {
        guard storage.capacity > ByteQueue.keptCapacity, count <= storage.capacity / 4 else { return }
        var bytes = isEmpty ? [] : [UInt8](storage[start...])
        swap(&bytes, &storage)
        start = 0
        spare.keep(&bytes)
    }

    /// Has an empty queue without much memory use some of `spare`.
    @inlinable
    public mutating func useMemory(of spare: inout SpareMemory) {
        if isEmpty, storage.capacity <= ByteQueue.keptCapacity { spare.take(into: &storage) }
    }

    /// Gives back the memory that an empty queue keeps.
    public mutating func trim() {
        if isEmpty { self = ByteQueue() }
    }

    /// How much memory an empty queue may keep.
    @inlinable
    static var keptCapacity: Int { 4096 }

    /// Moves the bytes to the front once as many were taken as are left, so that each byte moves a bounded number of times.
    @inlinable
    mutating func compact() {
        if start > 0, start >= count {
            storage.removeFirst(start)
            start = 0
        }
    }
}

extension ByteQueue {
    /// Two queues are equal when the same bytes wait in them.
    public static func == (lhs: ByteQueue, rhs: ByteQueue) -> Bool {
        lhs.storage[lhs.start...] == rhs.storage[rhs.start...]
    }

    /// Hashes the bytes that wait.
    public func hash(into hasher: inout Hasher) {
        hasher.combine(storage[start...])
    }
}
