// SPDX-License-Identifier: MIT

/// Makes a failing record of choices small: shorter first, then lower.
///
/// It knows nothing of what the choices mean. Stretches are taken away or set to 0, single values are lowered, and
/// each attempt is a run of the program, which records what it really asked. A smaller record that still
/// fails becomes the next one to improve on.
public struct Shrinker: Sendable {
    /// How many runs the shrinking may take.
    public let limit: Int
    /// How many runs were made.
    public private(set) var runs = 0
    private var best: [UInt32] = []

    /// Shrinks with at most `limit` runs.
    public init(limit: Int = 2000) {
        self.limit = limit
    }

    /// The smallest record found for which `fails` still says true; `record` itself if none is smaller.
    ///
    /// `fails` runs the program once with the choices it is given, and is expected to say true for `record`.
    public mutating func shrink(_ record: [UInt32], fails: (inout Choices) -> Bool) -> [UInt32] {
        best = record
        runs = 0
        var before: [UInt32]
        repeat {
            before = best
            removeChunks(fails)
            zeroChunks(fails)
            lowerValues(fails)
            lowerAndRemove(fails)
        } while best != before && runs < limit
        return best
    }

    /// Runs `candidate` and keeps what it became if that fails and is smaller.
    private mutating func attempt(_ candidate: [UInt32], _ fails: (inout Choices) -> Bool) -> Bool {
        guard runs < limit, Shrinker.isSmaller(candidate, than: best) else { return false }
        runs += 1
        var choices = Choices(replaying: candidate)
        guard fails(&choices) else { return false }
        let values = choices.values
        guard Shrinker.isSmaller(values, than: best) else { return false }
        best = values
        return true
    }

    /// Zeros at the end say nothing: a record continues with them anyway.
    static func isSmaller(_ left: [UInt32], than right: [UInt32]) -> Bool {
        if left.count != right.count { return left.count < right.count }
        return left.lexicographicallyPrecedes(right)
    }

    private mutating func removeChunks(_ fails: (inout Choices) -> Bool) {
        for size in chunkSizes() {
            var start = best.count - size
            while start >= 0, runs < limit {
                if start + size <= best.count {
                    var candidate = best
                    candidate.removeSubrange(start..<(start + size))
                    _ = attempt(candidate, fails)
                }
                start -= max(1, size / 2)
            }
        }
    }

    private mutating func zeroChunks(_ fails: (inout Choices) -> Bool) {
        for size in chunkSizes() {
            var start = 0
            while start + size <= best.count, runs < limit {
                if best[start..<(start + size)].contains(where: { $0 != 0 }) {
                    var candidate = best
                    for position in start..<(start + size) { candidate[position] = 0 }
                    _ = attempt(candidate, fails)
                }
                start += size
            }
        }
    }

    /// Half of the record, a quarter and so on, down to 1, and some small sizes: an element is often two or three.
    private func chunkSizes() -> [Int] {
        var sizes: [Int] = []
        var size = best.count
        while size > 4 {
            sizes.append(size)
            size /= 2
        }
        return sizes + [4, 3, 2, 1].filter { $0 <= best.count }
    }

    private mutating func lowerValues(_ fails: (inout Choices) -> Bool) {
        var position = 0
        while position < best.count, runs < limit {
            lower(at: position, fails)
            position += 1
        }
    }

    /// Finds, by halving, a value at `position` that fails while the one below it does not.
    private mutating func lower(at position: Int, _ fails: (inout Choices) -> Bool) {
        var passing: UInt32 = 0
        guard best[position] > 0 else { return }
        for low in 0..<min(best[position], 4) where attempt(replacing(position, with: low), fails) { return }
        while position < best.count, best[position] > passing &+ 1, runs < limit {
            let middle = passing + (best[position] - passing) / 2
            if !attempt(replacing(position, with: middle), fails) { passing = middle }
        }
    }

    private func replacing(_ position: Int, with value: UInt32) -> [UInt32] {
        var candidate = best
        candidate[position] = value
        return candidate
    }

    /// A count that becomes one lower leaves an element too many behind it: takes some choices away with it.
    private mutating func lowerAndRemove(_ fails: (inout Choices) -> Bool) {
        var position = 0
        while position < best.count, runs < limit {
            while position < best.count, best[position] > 0, removeBehind(position, fails) {}
            position += 1
        }
    }

    /// Whether the value at `position` could be lowered by taking up to four of the choices not far behind it.
    private mutating func removeBehind(_ position: Int, _ fails: (inout Choices) -> Bool) -> Bool {
        for start in stride(from: position + 1, to: min(best.count, position + 32), by: 1) where runs < limit {
            for size in 1...4 where start + size <= best.count {
                var candidate = replacing(position, with: best[position] - 1)
                candidate.removeSubrange(start..<(start + size))
                if attempt(candidate, fails) { return true }
            }
        }
        return false
    }
}
