// SPDX-License-Identifier: MIT

/// A hash that is the same in every process: for sets of visited states and for fingerprints in recipes.
///
/// `Hasher` is seeded anew by each process and may not decide what is explored. 64 bits: among a million states two
/// share a hash with a probability of one in 10^7.
@frozen
public struct FixedHash: Hashable, Sendable {
    @usableFromInline
    var state: UInt64

    /// Begins a hash; hashes of different `domain` values are unrelated.
    @inlinable
    public init(domain: UInt64 = 0) {
        state = domain ^ 0x6A09_E667_F3BC_C908
    }

    /// Adds one word; the order of words matters.
    @inlinable
    public mutating func combine(_ word: UInt64) {
        state = SplitMix64.mix((state &* 0x9E37_79B9_7F4A_7C15) ^ word)
    }

    /// Adds an integer, as the 64 bits that it is extended or cut to.
    @inlinable
    public mutating func combine(_ integer: some FixedWidthInteger) {
        combine(UInt64(truncatingIfNeeded: integer))
    }

    /// Adds bytes and their number, so that neighbours do not run into each other.
    @inlinable
    public mutating func combine(bytes: some Sequence<UInt8>) {
        var count: UInt64 = 0
        var word: UInt64 = 0
        for byte in bytes {
            word = word << 8 | UInt64(byte)
            count &+= 1
            if count & 7 == 0 {
                combine(word)
                word = 0
            }
        }
        combine(word)
        combine(count)
    }

    /// Adds the UTF-8 bytes of a text.
    @inlinable
    public mutating func combine(_ text: String) {
        combine(bytes: text.utf8)
    }

    /// The hash of everything added so far.
    @inlinable
    public var value: UInt64 { SplitMix64.mix(state) }
}
