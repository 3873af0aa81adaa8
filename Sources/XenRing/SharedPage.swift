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

    /// Copies `count` bytes; up to 31 without a call, since a console's messages are short (A23).
    ///
    /// The short copy takes a piece for each bit of `count`, so that no byte is read twice.
    @inlinable
    @inline(__always)
    func copy(_ count: Int, from source: UnsafeRawPointer, to destination: UnsafeMutableRawPointer) {
        if count > 31 {
            unsafe destination.copyMemory(from: source, byteCount: count)
            return
        }
        var done = 0
        if count & 16 != 0 {
            unsafe move(SIMD16<UInt8>.self, from: source, to: destination)
            done = 16
        }
        if count & 8 != 0 {
            unsafe move(UInt64.self, from: source + done, to: destination + done)
            done &+= 8
        }
        if count & 4 != 0 {
            unsafe move(UInt32.self, from: source + done, to: destination + done)
            done &+= 4
        }
        if count & 2 != 0 {
            unsafe move(UInt16.self, from: source + done, to: destination + done)
            done &+= 2
        }
        if count & 1 != 0 {
            unsafe move(UInt8.self, from: source + done, to: destination + done)
        }
    }

    @inlinable
    @inline(__always)
    func move<T: BitwiseCopyable>(
        _: T.Type,
        from source: UnsafeRawPointer,
        to destination: UnsafeMutableRawPointer
    ) {
        unsafe destination.storeBytes(of: source.loadUnaligned(as: T.self), as: T.self)
    }
}
