// SPDX-License-Identifier: MIT

/// A set of port numbers, in which finding the next member costs the same however many ports there are.
///
/// Three levels of words: a bit of a higher level says that a word below it is not zero. The real 2-level event channels have two
/// such levels for 4096 ports; the third carries the set up to 64 × 64 × 64 numbers, more than any domain can have (E8).
struct PortSet: Hashable, Sendable {
    /// For each 4096 numbers one word about the 64 words behind it, then those words. As long as has been reserved.
    private var bits: [UInt64] = []
    /// Which groups of 4096 have members.
    private var top: UInt64 = 0

    static let limit = 64 * 64 * 64

    var isEmpty: Bool { top == 0 }

    /// Makes room for the numbers below `count`, so that inserting them allocates nothing.
    mutating func reserve(_ count: Int) {
        precondition(count <= PortSet.limit, "more ports than a domain can have")
        guard count > 0 else { return }
        while bits.count <= PortSet.word(count - 1) { bits.append(0) }
    }

    /// Adds a number below what has been reserved; any other traps.
    mutating func insert(_ number: Int) {
        var words = bits.mutableSpan
        words[PortSet.word(number)] |= 1 << UInt64(number & 63)
        words[PortSet.summary(number)] |= 1 << UInt64(number >> 6 & 63)
        top |= 1 << UInt64(number >> 12)
    }

    /// Removes a number below what has been reserved; any other traps.
    mutating func remove(_ number: Int) {
        var words = bits.mutableSpan
        words[PortSet.word(number)] &= ~(1 << UInt64(number & 63))
        guard words[PortSet.word(number)] == 0 else { return }
        words[PortSet.summary(number)] &= ~(1 << UInt64(number >> 6 & 63))
        guard words[PortSet.summary(number)] == 0 else { return }
        top &= ~(1 << UInt64(number >> 12))
    }

    /// The smallest member that is not below `bound`; nil if there is none.
    func first(from bound: Int) -> Int? {
        let words = bits.span
        guard PortSet.word(bound) < words.count else { return nil }
        let near = words[PortSet.word(bound)] & (~0 << UInt64(bound & 63))
        if near != 0 { return bound & ~63 | near.trailingZeroBitCount }
        // Shifts by 64 give 0: there is nothing behind the last word of a group, and nothing behind the last group.
        let inGroup = words[PortSet.summary(bound)] & (~0 << UInt64((bound >> 6 & 63) + 1))
        if inGroup != 0 {
            let next = bound & ~4095 | inGroup.trailingZeroBitCount << 6
            return next | words[PortSet.word(next)].trailingZeroBitCount
        }
        let later = top & (~0 << UInt64((bound >> 12) + 1))
        guard later != 0 else { return nil }
        let group = later.trailingZeroBitCount << 12
        let next = group | words[PortSet.summary(group)].trailingZeroBitCount << 6
        return next | words[PortSet.word(next)].trailingZeroBitCount
    }

    private static func summary(_ number: Int) -> Int { (number >> 12) * 65 }

    private static func word(_ number: Int) -> Int { summary(number) + 1 + (number >> 6 & 63) }
}
