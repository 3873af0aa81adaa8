// SPDX-License-Identifier: MIT

/// The hash of a path's bytes, eight at a time.
///
/// The standard library's own hashes differ from run to run; the tree's layout must not.
enum PathHash {
    /// The hash of the first `count` bytes.
    static func of(_ bytes: Span<UInt8>, count: Int) -> UInt64 {
        precondition(count >= 0 && count <= bytes.count, "the bytes are there")
        let raw = unsafe bytes.bytes
        var hash = UInt64(truncatingIfNeeded: count)
        var index = 0
        while index &+ 8 <= count {
            // In range: at least eight bytes are left of `count`.
            let word = unsafe raw.unsafeLoadUnaligned(fromUncheckedByteOffset: index, as: UInt64.self)
            hash = step(hash, UInt64(littleEndian: word))
            index &+= 8
        }
        if index < count, count >= 8 {
            // The last eight bytes, some of them for the second time.
            let word = unsafe raw.unsafeLoadUnaligned(fromUncheckedByteOffset: count &- 8, as: UInt64.self)
            return step(hash, UInt64(littleEndian: word))
        }
        var rest: UInt64 = 0
        while index < count {
            rest = rest << 8 | UInt64(unsafe bytes[unchecked: index])
            index &+= 1
        }
        return step(hash, rest)
    }

    /// The hash of two runs of bytes that have these hashes; another one when they change places.
    static func joined(_ first: UInt64, _ second: UInt64) -> UInt64 {
        step(step(1, first), second)
    }

    private static func step(_ hash: UInt64, _ word: UInt64) -> UInt64 {
        let product = (hash ^ word) &* 0x9E37_79B9_7F4A_7C15
        // The high bits depend on all of the word: they come down to where the bucket is chosen.
        return product ^ product >> 32
    }
}
