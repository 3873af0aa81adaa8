// SPDX-License-Identifier: MIT

// What choices can be made of: each generator of values is a function that draws from `Choices`.
extension Choices {
    /// One of the numbers from 0 up to, not including, `bound`.
    ///
    /// Traps unless `bound` is from 1 to 2^32.
    @inlinable
    public mutating func choose(below bound: Int) -> Int {
        precondition(bound > 0 && UInt64(bound) <= 1 << 32, "a choice has from 1 to 2^32 possibilities")
        let wide = UInt64(bound)
        return Int(decide(limit: UInt32(truncatingIfNeeded: wide &- 1)) { $0.next(below: wide) })
    }

    /// One of the integers of a range; 0 stands for its lower bound.
    ///
    /// A range of more than 2^32 integers takes two decisions.
    @inlinable
    public mutating func integer<T: FixedWidthInteger>(in range: ClosedRange<T>) -> T {
        let distance = UInt64(truncatingIfNeeded: range.upperBound) &- UInt64(truncatingIfNeeded: range.lowerBound)
        return range.lowerBound &+ T(truncatingIfNeeded: wide(upTo: distance))
    }

    /// One of the integers of a range that is not empty; 0 stands for its lower bound.
    @inlinable
    public mutating func integer<T: FixedWidthInteger>(in range: Range<T>) -> T {
        precondition(!range.isEmpty, "an empty range has nothing to choose")
        return integer(in: range.lowerBound...(range.upperBound &- 1))
    }

    /// One of the integers of a range, every second time one of `corners`: the values where mistakes live.
    @inlinable
    public mutating func integer<T: FixedWidthInteger>(in range: ClosedRange<T>, corners: [T]) -> T {
        guard !corners.isEmpty, bool() else { return integer(in: range) }
        return pick(from: corners)
    }

    @inlinable
    mutating func wide(upTo distance: UInt64) -> UInt64 {
        let low = UInt32(truncatingIfNeeded: distance)
        let high = UInt32(truncatingIfNeeded: distance >> 32)
        guard high > 0 else { return UInt64(decide(limit: low) { $0.next(below: UInt64(low) + 1) }) }
        let top = decide(limit: high) { $0.next(below: UInt64(high) + 1) }
        let limit = top == high ? low : .max
        return UInt64(top) << 32 | UInt64(decide(limit: limit) { $0.next(below: UInt64(limit) + 1) })
    }

    /// True or false with equal probability; 0 stands for false.
    @inlinable
    public mutating func bool() -> Bool {
        choose(below: 2) == 1
    }

    /// True with a probability of `part` in `whole`; 0 stands for false, and an exhaustive walk sees both.
    ///
    /// A part of 0 is always false and one of `whole` always true, neither being a decision. Traps unless
    /// `part` is from 0 to `whole`, and `whole` from 1 to 2^32.
    @inlinable
    public mutating func chance(_ part: Int, in whole: Int) -> Bool {
        precondition(
            whole > 0 && UInt64(whole) <= 1 << 32 && part >= 0 && part <= whole,
            "a probability is from 0 to 1"
        )
        if part == 0 || part == whole { return part == whole }
        return decide(limit: 1) { $0.next(below: UInt64(whole)) < part ? 1 : 0 } == 1
    }

    /// One of the elements; 0 stands for the first. Traps if there is none.
    @inlinable
    public mutating func pick<Elements: RandomAccessCollection>(from elements: Elements) -> Elements.Element {
        precondition(!elements.isEmpty, "an empty collection has nothing to pick")
        return elements[elements.index(elements.startIndex, offsetBy: choose(below: elements.count))]
    }

    /// An index into `weights`, each as probable as its weight; an exhaustive walk sees every one.
    ///
    /// An index of weight 0 is never drawn from a seed. Traps unless the weights are not negative and their
    /// sum is from 1 to 2^32.
    @inlinable
    public mutating func index(weights: some RandomAccessCollection<Int>) -> Int {
        let sum = weights.reduce(0, +)
        precondition(weights.allSatisfy { $0 >= 0 } && sum > 0 && UInt64(sum) <= 1 << 32, "weights add up")
        let chosen = decide(limit: UInt32(weights.count - 1)) { generator in
            var rest = Int(generator.next(below: UInt64(sum)))
            var index: UInt32 = 0
            for weight in weights {
                if rest < weight { break }
                rest -= weight
                index += 1
            }
            return index
        }
        return Int(chosen)
    }

    /// Bytes, one decision each.
    @inlinable
    public mutating func bytes(count: Int) -> [UInt8] {
        precondition(count >= 0, "a count is not negative")
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count)
        for _ in 0..<count { bytes.append(UInt8(truncatingIfNeeded: choose(below: 256))) }
        return bytes
    }

    /// As many elements as `counts` allows, every number of them being as probable as another.
    ///
    /// Before each element that could be left out there is a decision whether to go on, so that taking a stretch of
    /// choices away takes an element away.
    @inlinable
    public mutating func array<Element, Failure: Error>(
        count counts: ClosedRange<Int>,
        of element: (inout Choices) throws(Failure) -> Element
    ) throws(Failure) -> [Element] {
        precondition(counts.lowerBound >= 0, "a count is not negative")
        var elements: [Element] = []
        while elements.count < counts.upperBound {
            let rest = counts.upperBound - elements.count
            guard elements.count < counts.lowerBound || chance(rest, in: rest + 1) else { break }
            elements.append(try element(&self))
        }
        return elements
    }

    /// Puts elements into some order; all zeros leave them as they are.
    @inlinable
    public mutating func shuffle<Element>(_ elements: inout [Element]) {
        guard elements.count > 1 else { return }
        for position in 0..<(elements.count - 1) {
            elements.swapAt(position, position + choose(below: elements.count - position))
        }
    }
}
