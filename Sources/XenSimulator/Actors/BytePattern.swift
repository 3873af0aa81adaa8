// SPDX-License-Identifier: MIT

import XenExploration

/// What a program sends: bytes that tell at which position of which stream they belong, so that loss, repetition and mixing are seen.
struct BytePattern {
    /// A prime, so that a stream does not repeat with the rings.
    private static let period = 4093
    /// One period and a pipe's worth more, to be copied from in one piece.
    private static let table: [UInt8] = {
        let once = (0..<BytePattern.period).map { position in
            var hash = FixedHash()
            hash.combine(position)
            return UInt8(truncatingIfNeeded: hash.value)
        }
        return (0..<(BytePattern.period + Pipe.capacity)).map { once[$0 % BytePattern.period] }
    }()

    private let shift: UInt64

    init(_ number: UInt64) {
        var hash = FixedHash(domain: 1)
        hash.combine(number)
        shift = hash.value % UInt64(BytePattern.period)
    }

    private func start(_ position: UInt64) -> Int { Int((position &+ shift) % UInt64(BytePattern.period)) }

    /// Shows the bytes from a position on; at most as many as a pipe holds.
    func withBytes(at position: UInt64, count: Int, _ body: (Span<UInt8>) -> Void) {
        let start = start(position)
        body(BytePattern.table.span.extracting(start..<(start + count)))
    }

    /// The first of `bytes` that is not the pattern's, and what it should be; nil if all are right.
    func mismatch(_ bytes: Span<UInt8>, at position: UInt64) -> (index: Int, expected: UInt8)? {
        let start = start(position)
        let expected = BytePattern.table.span.extracting(start..<(start + bytes.count))
        let words = bytes.count & ~7
        var index = 0
        while index < words, BytePattern.word(bytes, index) == BytePattern.word(expected, index) { index += 8 }
        while index < bytes.count, bytes[index] == expected[index] { index += 1 }
        return index < bytes.count ? (index, expected[index]) : nil
    }

    @inline(__always)
    private static func word(_ bytes: Span<UInt8>, _ index: Int) -> UInt64 {
        unsafe bytes.bytes.unsafeLoadUnaligned(fromUncheckedByteOffset: index, as: UInt64.self)
    }
}
