// SPDX-License-Identifier: MIT

/// A free-running ring index: a count of bytes since the page was fresh, modulo 2^32.
///
/// The only place where index arithmetic is done, and only with wrapping operators: indices pass 2^31 and
/// 2^32 in ordinary use (A4 to A6). The C counterpart is `XENCONS_RING_IDX`, an unsigned 32-bit integer in
/// native byte order.
@frozen
public struct RingIndex: Hashable, Sendable {
    /// The value as it stands in the page.
    public let rawValue: UInt32

    /// Takes a value as it stands in the page; every value is an index.
    @inlinable
    public init(_ rawValue: UInt32) {
        self.rawValue = rawValue
    }

    /// The number of bytes from `rhs` forward to `lhs`, modulo 2^32.
    @inlinable
    public static func - (lhs: RingIndex, rhs: RingIndex) -> UInt32 {
        lhs.rawValue &- rhs.rawValue
    }

    /// The index `count` bytes further on.
    @inlinable
    public static func + (lhs: RingIndex, count: Int) -> RingIndex {
        RingIndex(lhs.rawValue &+ UInt32(truncatingIfNeeded: count))
    }

    /// Where the byte of this index lies in a ring of `capacity` bytes, a power of two.
    @inlinable
    public func position(in capacity: UInt32) -> Int {
        Int(rawValue & (capacity &- 1))
    }

    /// Where the byte of this index lies in the data of a ring.
    @inlinable
    func position(in layout: RingLayout) -> Int {
        Int(rawValue & layout.mask)
    }
}
