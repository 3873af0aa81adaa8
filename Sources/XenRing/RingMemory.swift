// SPDX-License-Identifier: MIT

/// Memory that two sides share, with just the accesses a ring needs.
///
/// The ring is generic over this protocol, so that the one source runs over a real page (`SharedPage`), over a
/// spy that records each access, over memory that a hostile peer rewrites between two of them, and over a model
/// of weakly ordered memory. A conforming type is a handle: copies of it refer to the same memory.
///
/// Offsets are bytes from the start of the page. The ring passes only offsets of its layout, so an
/// implementation need not check them, however the peer behaves.
public protocol RingMemory {
    /// Loads an aligned 32-bit word; what the peer did before it stored that value is visible afterwards.
    func loadAcquire(at offset: Int) -> UInt32

    /// Loads an aligned 32-bit word, ordering nothing else.
    func loadRelaxed(at offset: Int) -> UInt32

    /// Stores an aligned 32-bit word after all earlier loads and stores of this side.
    func storeRelease(_ value: UInt32, at offset: Int)

    /// Loads one byte as `loadAcquire(at:)` does.
    func loadAcquireByte(at offset: Int) -> UInt8

    /// Stores one byte as `storeRelease(_:at:)` does.
    func storeReleaseByte(_ value: UInt8, at offset: Int)

    /// Orders everything before against everything after, a store before against a load after included.
    func fence()

    /// Copies all of `source` to `offset`, in no particular order.
    func copyIn(_ source: UnsafeRawBufferPointer, at offset: Int)

    /// Fills `destination` from `offset`, in no particular order; no byte is looked at, and each is
    /// what one reading of it gave.
    func copyOut(at offset: Int, into destination: UnsafeMutableRawBufferPointer)

    /// Copies `count` bytes from `source` to `destination`, which do not overlap, in no particular order; each is what one reading of it gave.
    ///
    /// There is an implementation for all memory, by `copyOut(at:into:)` and `copyIn(_:at:)`.
    func copy(_ count: Int, from source: Int, to destination: Int)
}

extension RingMemory {
    /// Copies a small piece after the other by way of the stack.
    @inlinable
    public func copy(_ count: Int, from source: Int, to destination: Int) {
        unsafe withUnsafeTemporaryAllocation(byteCount: 256, alignment: 16) { buffer in
            var done = 0
            while done < count {
                let piece = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[..<min(buffer.count, count - done)])
                unsafe copyOut(at: source + done, into: piece)
                unsafe copyIn(UnsafeRawBufferPointer(piece), at: destination + done)
                done += piece.count
            }
        }
    }
}
