// SPDX-License-Identifier: MIT

/// A set of port numbers, in which finding the next member costs the same however many ports there are.
///
/// Three levels of words: a bit of a higher level says that a word below it is not zero. The real 2-level event channels have two
/// such levels for 4096 ports; the third carries the set up to 64 × 64 × 64 numbers, more than any domain can have (E8).
struct PortSet: Hashable, Sendable {
    private var words: [UInt64] = []
    private var groups: [UInt64] = []
    private var top: UInt64 = 0

    static let limit = 64 * 64 * 64

    var isEmpty: Bool { top == 0 }

    /// Makes room for the numbers below `count`, so that inserting them allocates nothing.
    mutating func reserve(_ count: Int) {
        precondition(count <= PortSet.limit, "more ports than a domain can have")
        while words.count * 64 < count { words.append(0) }
        while groups.count * 64 < words.count { groups.append(0) }
    }

    /// Adds a number below what has been reserved; an index out of range traps otherwise.
    mutating func insert(_ number: Int) {
        words[number >> 6] |= 1 << UInt64(number & 63)
        groups[number >> 12] |= 1 << UInt64(number >> 6 & 63)
        top |= 1 << UInt64(number >> 12)
    }

    mutating func remove(_ number: Int) {
        words[number >> 6] &= ~(1 << UInt64(number & 63))
        guard words[number >> 6] == 0 else { return }
        groups[number >> 12] &= ~(1 << UInt64(number >> 6 & 63))
        guard groups[number >> 12] == 0 else { return }
        top &= ~(1 << UInt64(number >> 12))
    }

    func contains(_ number: Int) -> Bool {
        number >> 6 < words.count && words[number >> 6] >> UInt64(number & 63) & 1 == 1
    }

    /// The smallest member that is not below `bound`; nil if there is none.
    func first(from bound: Int) -> Int? {
        if let bit = PortSet.firstBit(in: words, from: bound) { return bit }
        let word = (bound >> 6) + 1
        if let next = PortSet.firstBit(in: groups, from: word) {
            return next << 6 + words[next].trailingZeroBitCount
        }
        let group = (word >> 6) + 1
        let later = group < 64 ? top & (~0 << UInt64(group)) : 0
        guard later != 0 else { return nil }
        let next = later.trailingZeroBitCount
        let nextWord = next << 6 + groups[next].trailingZeroBitCount
        return nextWord << 6 + words[nextWord].trailingZeroBitCount
    }

    /// The smallest bit not below `bound` that lies in the same word.
    private static func firstBit(in words: [UInt64], from bound: Int) -> Int? {
        let index = bound >> 6
        guard index < words.count else { return nil }
        let later = words[index] & (~0 << UInt64(bound & 63))
        return later == 0 ? nil : index << 6 + later.trailingZeroBitCount
    }
}
