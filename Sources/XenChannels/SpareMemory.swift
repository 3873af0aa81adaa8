// SPDX-License-Identifier: MIT

/// Memory of queues that have become empty, for those that fill next: the memory that was used last is used first, while it is in the
/// processor's cache. Keeps a few pieces, whatever the number of queues.
public struct SpareMemory: ~Copyable {
    @usableFromInline
    var pieces: [[UInt8]] = []

    @usableFromInline
    static var limit: Int { 4 }
    /// A larger piece is given back to the system.
    @usableFromInline
    static var largestPiece: Int { 1 << 18 }

    /// Makes a store without memory.
    public init() {}

    @inlinable
    mutating func keep(_ memory: inout [UInt8]) {
        guard pieces.count < SpareMemory.limit, memory.count <= SpareMemory.largestPiece else {
            memory = []
            return
        }
        pieces.append([])
        swap(&pieces[pieces.count - 1], &memory)
    }

    @inlinable
    mutating func take(into memory: inout [UInt8]) {
        if let piece = pieces.popLast() { memory = piece }
    }
}
