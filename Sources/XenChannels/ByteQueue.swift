// SPDX-License-Identifier: MIT

/// Bytes in order, appended at the end and taken from the front, in one piece of memory.
///
/// An empty queue keeps a little memory for the next bytes, and no more, so that steady traffic allocates nothing and a
/// thousand idle channels cost nothing.
public struct ByteQueue: Hashable, Sendable {
    /// All of it initialised: appending and taking move the two bounds only.
    @usableFromInline
    var storage: [UInt8] = []
    // Half as wide as an index, since a world has many queues: none holds more than `ByteQueue.maximumCount`.
    @usableFromInline
    var first: UInt32 = 0
    @usableFromInline
    var next: UInt32 = 0

    /// How many bytes a queue can hold: more would trap.
    @inlinable
    public static var maximumCount: Int { 1 << 31 }

    /// Makes an empty queue, without memory.
    @inlinable
    public init() {}

    /// How many bytes wait.
    @inlinable
    public var count: Int { Int(next &- first) }

    /// Whether none wait.
    @inlinable
    public var isEmpty: Bool { first == next }

    /// Where in `storage` the bytes are that wait.
    @inlinable
    var bounds: Range<Int> { unsafe Range(uncheckedBounds: (Int(first), Int(next))) }

    /// Appends up to `count` bytes that `fill` writes. Traps if the queue cannot hold as many.
    @inlinable
    public mutating func append<Failure: Error>(
        upTo count: Int,
        filledBy fill: (inout OutputSpan<UInt8>) throws(Failure) -> Void
    ) throws(Failure) {
        makeRoom(for: count)
        let start = Int(next)
        var added = 0
        defer { next += UInt32(added) }
        var room = storage.mutableSpan
        try unsafe room.withUnsafeMutableBufferPointer { (buffer) throws(Failure) in
            let free = unsafe UnsafeMutableBufferPointer(rebasing: buffer[start..<(start + count)])
            var output = unsafe OutputSpan(buffer: free, initializedCount: 0)
            do throws(Failure) {
                try fill(&output)
            } catch {
                added = unsafe output.finalize(for: free)
                throw error
            }
            added = unsafe output.finalize(for: free)
        }
    }

    /// Appends all of `bytes`.
    @inlinable
    public mutating func append(_ bytes: Span<UInt8>) {
        append(upTo: bytes.count) { output in
            for index in bytes.indices { output.append(bytes[index]) }
        }
    }

    /// Appends `count` bytes, all of which `fill` writes; none if it fails.
    @inlinable
    @inline(__always)
    mutating func append<Failure: Error>(
        _ count: Int,
        writtenBy fill: (inout MutableSpan<UInt8>) throws(Failure) -> Void
    ) throws(Failure) {
        if storage.count - Int(next) < count { makeRoom(for: count) }
        let start = Int(next)
        var memory = storage.mutableSpan
        try unsafe memory.withUnsafeMutableBufferPointer { (memory) throws(Failure) in
            let free = unsafe UnsafeMutableBufferPointer(rebasing: memory[start..<(start &+ count)])
            var room = unsafe MutableSpan(_unsafeElements: free)
            try fill(&room)
        }
        next &+= UInt32(truncatingIfNeeded: count)
    }

    /// Shows the bytes that wait, oldest first.
    @inlinable
    public func withBytes<Failure: Error, Result>(
        _ body: (Span<UInt8>) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try body(storage.span.extracting(bounds))
    }

    /// Takes the oldest `count` bytes away. Traps if there are fewer.
    @inlinable
    public mutating func removeFirst(_ count: Int) {
        take(count) { _ in }
        if isEmpty, storage.count > ByteQueue.keptCapacity { storage = [] }
    }

    /// Takes bytes from within away, counted from the oldest. Traps if they do not all wait.
    public mutating func remove(_ range: Range<Int>) {
        precondition(range.lowerBound >= 0 && range.upperBound <= count, "no more bytes can be taken than wait")
        move(bounds.lowerBound + range.upperBound..<bounds.upperBound, to: bounds.lowerBound + range.lowerBound)
        next -= UInt32(range.count)
        if isEmpty { removeFirst(0) }
    }

    /// Shows the oldest `count` bytes, and takes them away. Traps if there are fewer.
    ///
    /// An empty queue keeps all its memory here: `trim(giving:)` is to be called then.
    @inlinable
    @inline(__always)
    mutating func take<Result>(_ count: Int, _ body: (Span<UInt8>) -> Result) -> Result {
        precondition(count >= 0 && count <= self.count, "no more bytes can be taken than wait")
        let start = Int(first)
        defer {
            first &+= UInt32(truncatingIfNeeded: count)
            if first == next { (first, next) = (0, 0) }
        }
        return body(storage.span.extracting(start..<(start &+ count)))
    }

    /// Moves bytes that need but a small part of the memory they are in to memory of their own, and gives the large piece to `spare`; no bytes
    /// need none.
    @inlinable
    public mutating func trim(giving spare: inout SpareMemory) {
        guard storage.count > ByteQueue.keptCapacity, count <= storage.count / 4 else { return }
        var bytes = isEmpty ? [] : [UInt8](storage[bounds])
        swap(&bytes, &storage)
        (first, next) = (0, next - first)
        spare.keep(&bytes)
    }

    /// Has an empty queue without much memory use some of `spare`.
    @inlinable
    public mutating func useMemory(of spare: inout SpareMemory) {
        if isEmpty, storage.count <= ByteQueue.keptCapacity { spare.take(into: &storage) }
    }

    /// Gives back the memory that an empty queue keeps.
    public mutating func trim() {
        if isEmpty { self = ByteQueue() }
    }

    /// How much memory an empty queue may keep.
    @inlinable
    static var keptCapacity: Int { 4096 }

    /// Makes room for `count` bytes more behind those that wait.
    ///
    /// These move to the front if as many were taken before as are left, or to twice as much memory: so each byte moves a bounded number of times.
    @inlinable
    @inline(never)
    mutating func makeRoom(for count: Int) {
        guard storage.count - Int(next) < count else { return }
        let needed = self.count + count
        precondition(count >= 0 && needed <= ByteQueue.maximumCount, "a queue holds no more than 2 GiB")
        if self.count <= Int(first), needed <= storage.count {
            move(bounds, to: 0)
        } else {
            let capacity = max(needed, 2 * storage.count)
            storage = unsafe [UInt8](unsafeUninitializedCapacity: capacity) { memory, initialized in
                let count = unsafe memory.initialize(fromContentsOf: storage[bounds])
                unsafe memory[count...].initialize(repeating: 0)
                initialized = memory.count
            }
        }
        (first, next) = (0, next - first)
    }

    /// Copies bytes of the memory to a place before them.
    @usableFromInline
    mutating func move(_ range: Range<Int>, to place: Int) {
        unsafe storage.withUnsafeMutableBytes { memory in
            let source = unsafe UnsafeRawBufferPointer(rebasing: memory[range])
            unsafe UnsafeMutableRawBufferPointer(rebasing: memory[place...]).copyMemory(from: source)
        }
    }
}

extension ByteQueue {
    /// Two queues are equal when the same bytes wait in them.
    public static func == (lhs: ByteQueue, rhs: ByteQueue) -> Bool {
        lhs.storage[lhs.bounds] == rhs.storage[rhs.bounds]
    }

    /// Hashes the bytes that wait.
    public func hash(into hasher: inout Hasher) {
        hasher.combine(storage[bounds])
    }
}
