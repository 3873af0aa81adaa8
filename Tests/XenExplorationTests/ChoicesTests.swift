// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenExploration

struct ChoicesTests {
    @Test func `a seed gives the same choices for ever`() {
        var choices = Choices(seed: 1)
        let drawn = (0..<6).map { _ in choices.choose(below: 1000) }
        #expect(drawn == [566, 745, 971, 444, 444, 762])
    }

    @Test func `the generator is SplitMix64`() {
        var generator = SplitMix64(seed: 1_234_567)
        let drawn = (0..<3).map { _ in generator.next() }
        #expect(
            drawn == [
                6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423,
            ]
        )
    }

    @Test func `what was recorded is replayed, and goes on with zeros`() {
        var first = Choices(seed: 9)
        let drawn = (0..<20).map { _ in first.integer(in: -5...5) }
        var second = Choices(replaying: first.values)
        let replayed = (0..<20).map { _ in second.integer(in: -5...5) }
        #expect(replayed == drawn)
        #expect(second.misfit == nil && second.remaining == 0)
        #expect(second.fingerprint == first.fingerprint)
        #expect(second.integer(in: -5...5) == -5)
        first.rewind()
        let again = (0..<20).map { _ in first.integer(in: -5...5) }
        #expect(again == drawn)
    }

    @Test func `without recording the same values are drawn and none is kept`() {
        var kept = Choices(seed: 3)
        var loose = Choices(seed: 3, recording: false)
        for _ in 0..<50 {
            let (left, right) = (kept.choose(below: 77), loose.choose(below: 77))
            #expect(left == right)
        }
        #expect(kept.taken.count == 50)
        #expect(loose.taken.isEmpty)
    }

    @Test func `a decision with one possibility is none`() {
        var choices = Choices(seed: 3)
        let numbers = [choices.choose(below: 1), choices.integer(in: 7...7)]
        #expect(numbers == [0, 7])
        let flags = [choices.chance(0, in: 9), choices.chance(9, in: 9)]
        #expect(flags == [false, true])
        #expect(choices.taken.isEmpty)
    }

    @Test func `a value too high for its question is lowered and reported`() {
        var choices = Choices(replaying: [3, 9, 1])
        let numbers = [choices.choose(below: 4), choices.choose(below: 4)]
        #expect(numbers == [3, 3])
        #expect(choices.misfit?.position == 1)
        #expect(choices.misfit?.limit == 3)
        #expect(choices.remaining == 1)
    }

    @Test func `an exhaustive walk sees every combination once, in order`() {
        var choices = Choices.exhaustive()
        var seen: [[Int]] = []
        repeat {
            let first = choices.choose(below: 3)
            // The second question depends on the first answer.
            seen.append([first] + (0..<first).map { _ in choices.bool() ? 1 : 0 })
        } while choices.backtrack()
        #expect(seen == [[0], [1, 0], [1, 1], [2, 0, 0], [2, 0, 1], [2, 1, 0], [2, 1, 1]])
    }

    @Test func `a probability branches in two when everything is tried`() {
        var choices = Choices.exhaustive()
        var seen: [String] = []
        repeat {
            seen.append("\(choices.chance(1, in: 1000)) \(choices.index(weights: [5, 0, 100]))")
        } while choices.backtrack()
        #expect(seen == ["false 0", "false 1", "false 2", "true 0", "true 1", "true 2"])
    }

    @Test func `a run that asks other questions after the same answers is the caller's mistake`() async {
        await #expect(processExitsWith: .failure) {
            var choices = Choices.exhaustive()
            _ = choices.choose(below: 3)
            _ = choices.choose(below: 3)
            _ = choices.backtrack()
            _ = choices.choose(below: 5)
            _ = choices.backtrack()
        }
    }

    @Test func `ranges of every width give all of their values and no other`() {
        checkProperty(cases: 300) { choices in
            let bounds = [choices.integer(in: Int64.min...Int64.max, corners: [.min, .max, 0, -1, 1 << 32])]
            let low = min(bounds[0], choices.integer(in: Int64.min...Int64.max, corners: [.min, .max, 0]))
            let value = choices.integer(in: low...bounds[0])
            try require(value >= low && value <= bounds[0], "\(value) is outside \(low)...\(bounds[0])")
        }
        var highest = Choices(replaying: [.max, .max])
        let top = highest.integer(in: UInt64.min...UInt64.max)
        #expect(top == .max)
        var choices = Choices.exhaustive()
        var seen: [Int8] = []
        repeat { seen.append(choices.integer(in: -3..<3)) } while choices.backtrack()
        #expect(seen == [-3, -2, -1, 0, 1, 2])
    }

    @Test func `draws are spread over all possibilities`() {
        var choices = Choices(seed: 5)
        var counts = Array(repeating: 0, count: 10)
        for _ in 0..<10_000 { counts[choices.choose(below: 10)] += 1 }
        #expect(counts.allSatisfy { $0 > 850 && $0 < 1150 }, "\(counts)")
        let hits = (0..<10_000).count { _ in choices.chance(1, in: 20) }
        #expect(hits > 400 && hits < 600)
        var weighted = Array(repeating: 0, count: 3)
        for _ in 0..<10_000 { weighted[choices.index(weights: [1, 0, 3])] += 1 }
        #expect(weighted[1] == 0 && weighted[0] > 2300 && weighted[0] < 2700, "\(weighted)")
        var lengths = Array(repeating: 0, count: 5)
        for _ in 0..<5_000 { lengths[choices.array(count: 1...4) { $0.bool() }.count] += 1 }
        #expect(lengths[0] == 0 && lengths[1...].allSatisfy { $0 > 1100 && $0 < 1400 }, "\(lengths)")
    }

    @Test func `shuffling permutes, and every order is reached`() {
        var choices = Choices.exhaustive()
        var seen: Set<[Int]> = []
        repeat {
            var elements = [1, 2, 3, 4]
            choices.shuffle(&elements)
            #expect(seen.isEmpty ? elements == [1, 2, 3, 4] : elements.sorted() == [1, 2, 3, 4])
            seen.insert(elements)
        } while choices.backtrack()
        #expect(seen.count == 24)
    }

    @Test func `notes are kept only when asked for`() {
        var choices = Choices(seed: 1)
        choices.note("unheard")
        #expect(choices.notes.isEmpty && !choices.isExplaining)
        choices.explain()
        choices.note("heard")
        #expect(choices.notes == ["heard"])
    }
}

struct FixedHashTests {
    @Test func `the hash is the same in every process`() {
        var hash = FixedHash()
        hash.combine(1 as UInt64)
        hash.combine("a text")
        #expect(hash.value == 12_641_960_306_856_041_788)
    }

    @Test func `order, length and domain matter`() {
        func hash(_ parts: [[UInt8]], domain: UInt64 = 0) -> UInt64 {
            var hash = FixedHash(domain: domain)
            for part in parts { hash.combine(bytes: part) }
            return hash.value
        }
        let different: [UInt64] = [
            hash([]), hash([[]]), hash([[0]]), hash([[0, 0]]), hash([[0], [0]]), hash([[1, 2]]), hash([[2, 1]]),
            hash([[1], [2]]), hash([[1, 2], []]), hash([[], [1, 2]]), hash([[1, 2]], domain: 1),
            hash([Array(repeating: 0, count: 8)]), hash([Array(repeating: 0, count: 16)]),
        ]
        #expect(Set(different).count == different.count)
    }
}
