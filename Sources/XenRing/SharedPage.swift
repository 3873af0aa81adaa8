// SPDX-License-Identifier: MIT

public import Synchronization

/// A real page of memory that the other side reads and writes at any moment.
///
/// Index accesses are single aligned atomic operations (A8, A18); on x86-64 an acquire load and a release store
/// are one `mov` each. The page does not own its memory: whoever mapped it keeps it mapped while any ring end uses it.
@frozen
@safe
public struct SharedPage: RingMemory, @unchecked Sendable {
    /// The size of a Xen page in bytes. A mapping is sized by this, never by a C structure (A2).
    @inlinable
    public static var size: Int { 4096 }

    @usableFromInline
    let base: UnsafeMutableRawPointer

    /// Uses `SharedPage.size` bytes at `base`, which stay valid while this value or a copy of it is in use.
    ///
    /// Traps if `base` is not aligned to eight bytes.
    @inlinable
    @unsafe
    public init(base: UnsafeMutableRawPointer) {
        precondition(UInt(bitPattern: base) & 7 == 0, "a shared page is aligned")
        unsafe self.base = base
    }

    /// The address the page was made with.
    @inlinable
    @unsafe
    public var baseAddress: UnsafeMutableRawPointer { unsafe base }

    // `Atomic` has the size and alignment of the integer it holds: checked by a test, relied on here.
    @inlinable
    func word(at offset: Int) -> UnsafeMutablePointer<Atomic<UInt32>> {
        unsafe (base + offset).assumingMemoryBound(to: Atomic<UInt32>.self)
    }

    @inlinable
    func byte(at offset: Int) -> UnsafeMutablePointer<Atomic<UInt8>> {
        unsafe (base + offset).assumingMemoryBound(to: Atomic<UInt8>.self)
    }

    /// Loads a word with acquire ordering: a plain `mov` on x86-64, `ldar` on aarch64.
    @inlinable
    public func loadAcquire(at offset: Int) -> UInt32 {
        unsafe word(at: offset).pointee.load(ordering: .acquiring)
    }

    /// Loads a word without ordering.
    @inlinable
    public func loadRelaxed(at offset: Int) -> UInt32 {
        unsafe word(at: offset).pointee.load(ordering: .relaxed)
    }

    /// Stores a word with release ordering: a plain `mov` on x86-64, `stlr` on aarch64.
    @inlinable
    public func storeRelease(_ value: UInt32, at offset: Int) {
        unsafe word(at: offset).pointee.store(value, ordering: .releasing)
    }

    /// Loads a byte with acquire ordering.
    @inlinable
    public func loadAcquireByte(at offset: Int) -> UInt8 {
        unsafe byte(at: offset).pointee.load(ordering: .acquiring)
    }

    /// Stores a byte with release ordering.
    @inlinable
    public func storeReleaseByte(_ value: UInt8, at offset: Int) {
        unsafe byte(at: offset).pointee.store(value, ordering: .releasing)
    }

    /// A sequentially consistent fence: a locked instruction on x86-64, `dmb ish` on aarch64.
    @inlinable
    public func fence() {
        atomicMemoryFence(ordering: .sequentiallyConsistent)
    }

    /// Copies into the page.
    @inlinable
    @inline(__always)
    public func copyIn(_ source: UnsafeRawBufferPointer, at offset: Int) {
        if let from = source.baseAddress {
            unsafe copy(source.count, from: from, to: base + offset)
        }
    }

    /// Copies out of the page.
    @inlinable
    @inline(__always)
    public func copyOut(at offset: Int, into destination: UnsafeMutableRawBufferPointer) {
        if let to = destination.baseAddress {
            unsafe copy(destination.count, from: base + offset, to: to)
        }
    }

    /// Copies within the page, without a detour.
    @inlinable
    @inline(__always)
    public func copy(_ count: Int, from source: Int, to destination: Int) {
        unsafe copy(count, from: UnsafeRawPointer(base + source), to: base + destination)
    }

    /// Copies `count` bytes; up to 32 without a call, since a console's messages are short (A23).
    ///
    /// A short copy takes two pieces, which overlap in the middle: what is read twice there is stored twice, and only
    /// the second reading is left.
    @inlinable
    @inline(__always)
    func copy(_ count: Int, from source: UnsafeRawPointer, to destination: UnsafeMutableRawPointer) {
        if count > 32 {
            unsafe destination.copyMemory(from: source, byteCount: count)
        } else if count >= 16 {
            unsafe copyEnds(of: SIMD16<UInt8>.self, count, from: source, to: destination)
        } else if count >= 4 {
            if count >= 8 {
                unsafe copyEnds(of: UInt64.self, count, from: source, to: destination)
            } else {
                unsafe copyEnds(of: UInt32.self, count, from: source, to: destination)
            }
        } else if count >= 2 {
            unsafe copyEnds(of: UInt16.self, count, from: source, to: destination)
        } else if count > 0 {
            unsafe destination.storeBytes(of: source.load(as: UInt8.self), as: UInt8.self)
        }
    }

    /// Copies the first and the last piece of `count` bytes.
    @inlinable
    @inline(__always)
    func copyEnds<Piece: BitwiseCopyable>(
        of _: Piece.Type,
        _ count: Int,
        from source: UnsafeRawPointer,
        to destination: UnsafeMutableRawPointer
    ) {
        let last = count &- MemoryLayout<Piece>.size
        let head = unsafe source.loadUnaligned(as: Piece.self)
        let tail = unsafe source.loadUnaligned(fromByteOffset: last, as: Piece.self)
        unsafe destination.storeBytes(of: head, as: Piece.self)
        unsafe destination.storeBytes(of: tail, toByteOffset: last, as: Piece.self)
    }
}
