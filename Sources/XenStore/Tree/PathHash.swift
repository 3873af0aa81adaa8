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
        var rest: UInt64 = 0
        while index < count {
            rest = rest << 8 | UInt64(unsafe bytes[unchecked: index])
            index &+= 1
        }
        return step(hash, rest)
    }

    /// Whether two runs of `count` bytes are the same.
    static func isEqual(_ left: Span<UInt8>, _ right: Span<UInt8>, count: Int) -> Bool {
        precondition(count >= 0 && count <= left.count && count <= right.count, "the bytes are there")
        let (first, second) = unsafe (left.bytes, right.bytes)
        var index = 0
        while index &+ 8 <= count {
            // In range: at least eight bytes are left of `count`.
            guard
                unsafe first.unsafeLoadUnaligned(fromUncheckedByteOffset: index, as: UInt64.self)
                    == second.unsafeLoadUnaligned(fromUncheckedByteOffset: index, as: UInt64.self)
            else { return false }
            index &+= 8
        }
        while index < count {
            guard unsafe left[unchecked: index] == right[unchecked: index] else { return false }
            index &+= 1
        }
        return true
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
