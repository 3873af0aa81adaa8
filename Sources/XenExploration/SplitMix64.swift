// SPDX-License-Identifier: MIT

/// The generator behind seeded choices: SplitMix64, one 64-bit word of state.
///
/// Not a `RandomNumberGenerator` on purpose: what the standard library makes of one (`shuffled`, ranges) may change
/// between releases, and a seed must mean the same world on every machine and in every year.
@frozen
public struct SplitMix64: Hashable, Sendable {
    @usableFromInline
    var state: UInt64

    /// Starts the sequence of `seed`; every seed is as good as another.
    @inlinable
    public init(seed: UInt64) {
        state = seed
    }

    /// The next 64 bits.
    @inlinable
    public mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        return SplitMix64.mix(state)
    }

    /// A value below `bound`, which is at most 2^32; the bias is below one in 2^32.
    @inlinable
    mutating func next(below bound: UInt64) -> UInt32 {
        UInt32(truncatingIfNeeded: ((next() >> 32) &* bound) >> 32)
    }

    /// Spreads the bits of a word over all of it: a bijection.
    @inlinable
    static func mix(_ word: UInt64) -> UInt64 {
        var z = word
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
