// SPDX-License-Identifier: MIT

/// Bytes in order, appended at the end and taken from the front, in one piece of memory.
///
/// An empty queue keeps a little memory for the next bytes, and no more, so that steady traffic allocates nothing and a
/// thousand idle channels cost nothing.
public struct ByteQueue: Hashable, Sendable {
    private var storage: [UInt8] = []
    private var start = 0

    /// Makes an empty queue, without memory.
    public init() {}

    /// How many bytes wait.
    public var count: Int { storage.count - start }

    /// Whether none wait.
    public var isEmpty: Bool { count == 0 }

    /// Appends up to `count` bytes that `fill` writes, and returns what it returns.
    public mutating func append<Failure: Error, Result>(
        upTo count: Int,
        filledBy fill: (inout OutputSpan<UInt8>) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        compact()
        var result: Swift.Result<Result, Failure>?
        storage.append(addingCapacity: count) { output in
            do throws(Failure) {
                result = .success(try fill(&output))
            } catch {
                result = .failure(error)
            }
        }
        guard let result else { preconditionFailure("the closure was called") }
        return try result.get()
    }

    /// Appends all of `bytes`.
    public mutating func append(_ bytes: Span<UInt8>) {
        append(upTo: bytes.count) { output in
            for index in bytes.indices { output.append(bytes[index]) }
        }
    }

    /// Shows the bytes that wait, oldest first.
    public func withBytes<Failure: Error, Result>(
        _ body: (Span<UInt8>) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try body(storage.span.extracting(start..<storage.count))
    }

    /// Takes the oldest `count` bytes away. Traps if there are fewer.
    public mutating func removeFirst(_ count: Int) {
        precondition(count >= 0 && count <= self.count, "no more bytes can be taken than wait")
        start += count
        if start == storage.count {
            storage.removeAll(keepingCapacity: storage.capacity <= ByteQueue.keptCapacity)
            start = 0
        }
    }

    /// How much memory an empty queue may keep.
    private static let keptCapacity = 8192

    /// Moves the bytes to the front once as many were taken as are left, so that each byte moves a bounded number of times.
    private mutating func compact() {
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
