// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenExploration

struct ShrinkerTests {
    /// Draws with `seed` until `fails`, then shrinks.
    private func smallest(_ fails: (inout Choices) -> Bool) throws -> [UInt32] {
        for seed in UInt64(0)..<1000 {
            var choices = Choices(seed: seed)
            if fails(&choices) {
                var shrinker = Shrinker()
                return shrinker.shrink(choices.values, fails: fails)
            }
        }
        throw PropertyViolation("nothing failed")
    }

    @Test func `a number is lowered to the first that fails`() throws {
        let high = try smallest { $0.integer(in: UInt32.min...UInt32.max) >= 123_457 }
        #expect(high == [123_457])
        let remainder = try smallest { $0.integer(in: 0...1_000_000) % 7 == 3 }
        #expect(remainder == [3])
    }

    @Test func `of a list only what matters stays`() throws {
        let values = try smallest { choices in
            choices.array(count: 0...100) { $0.choose(below: 1000) }.contains { $0 > 500 }
        }
        #expect(values == [1, 501, 0] || values == [1, 501])
    }

    @Test func `elements that need each other stay together`() throws {
        let values = try smallest { choices in
            let list = choices.array(count: 0...60) { [$0.choose(below: 50), $0.choose(below: 50)] }
            return zip(list, list.dropFirst()).contains { $0[0] > 10 && $1[1] > 20 }
        }
        #expect(values.filter { $0 > 1 } == [11, 21], "\(values)")
        #expect(values.count <= 7)
    }

    @Test func `a count before its elements shrinks with them`() throws {
        let values = try smallest { choices in
            let count = choices.choose(below: 30)
            let bytes = choices.bytes(count: count)
            return bytes.reduce(0) { $0 + Int($1) } > 300
        }
        #expect(values.count == 3 && values[0] == 2, "\(values)")
    }

    @Test func `it never returns what does not fail, and stops at its limit`() {
        checkProperty(cases: 30) { choices in
            let threshold = choices.integer(in: 1...2000)
            func fails(_ choices: inout Choices) -> Bool {
                choices.array(count: 0...20) { $0.choose(below: 300) }.reduce(0, +) >= threshold
            }
            var made = Choices(seed: UInt64(threshold))
            guard fails(&made) else { return }
            var shrinker = Shrinker(limit: choices.integer(in: 0...200))
            var small = Choices(replaying: shrinker.shrink(made.values, fails: fails))
            try require(fails(&small), "the small record passes")
            try require(shrinker.runs <= shrinker.limit, "\(shrinker.runs) runs")
            try require(small.values.count <= made.values.count, "longer than before")
        }
    }

    @Test func `a lower choice that asks for more choices is no smaller record`() {
        var shrinker = Shrinker()
        let small = shrinker.shrink([1, 2]) { choices in
            let isShort = choices.choose(below: 2) == 1
            for _ in 0..<(isShort ? 1 : 5) { _ = choices.choose(below: 3) }
            return true
        }
        #expect(small == [1, 0])
    }
}

struct PropertyTests {
    @Test func `what holds has no failure, and every case is tried`() {
        var cases = 0
        let failure = Property("holds", cases: 40, seed: 1).check { (_: inout Choices) throws(PropertyViolation) in
            cases += 1
        }
        #expect(failure == nil)
        #expect(cases == 40)
    }

    @Test func `a failure is small and its recipe repeats it`() throws {
        let property = Property("numbers stay low", cases: 200, seed: 3)
        func body(_ choices: inout Choices) throws(PropertyViolation) {
            let number = choices.integer(in: 0...9999)
            choices.note("number \(number)")
            try require(number < 4321, "\(number) is not low")
        }
        let failure = try #require(property.check(body))
        #expect(failure.message == "4321 is not low")
        #expect(failure.notes == ["number 4321"])
        #expect(failure.description.contains("repeat it with: xensim1:numbers-stay-low:10e1~"))
        let recipe = try Recipe(parsing: failure.recipe.description)
        let again = try property.replay(recipe, describe: { $0.description }, body)
        #expect(again?.message == failure.message)
        #expect(throws: RecipeError.self) {
            try property.replay(recipe, describe: { $0.description }) { (choices) throws(PropertyViolation) in
                _ = choices.choose(below: 3)
            }
        }
    }

    @Test func `the same seed fails with the same recipe, another with its own`() {
        func recipe(_ seed: UInt64) -> String? {
            Property("a", cases: 5, seed: seed, shrinkLimit: 0).check { (choices) throws(PropertyViolation) in
                throw PropertyViolation("\(choices.choose(below: 1000))")
            }?.recipe.description
        }
        #expect(recipe(1) == recipe(1))
        #expect(recipe(1) != recipe(2))
    }

    @Test func `the environment is read, and mistakes in it are heard of`() throws {
        let environment = try PropertyEnvironment(["XEN_PROPERTY_CASES": "7", "XEN_PROPERTY_SEED": "0x1f"])
        #expect(environment.property("a", cases: 100).cases == 7)
        #expect(environment.property("a", cases: 100).seed == 31)
        let none = try PropertyEnvironment([:])
        #expect(none.property("a", cases: 100).cases == 100)
        #expect(none.property("a", cases: 1).seed != none.property("b", cases: 1).seed)
        #expect(throws: PropertyViolation.self) { try PropertyEnvironment(["XEN_PROPERTY_CASES": "0"]) }
        #expect(throws: PropertyViolation.self) { try PropertyEnvironment(["XEN_PROPERTY_SEED": "seven"]) }
    }

    @Test func `a recipe in the environment is repeated by its own property, and by no other`() throws {
        func body(_ choices: inout Choices) throws(PropertyViolation) {
            try require(choices.integer(in: 0...99) < 50, "high")
        }
        let found = try PropertyEnvironment(["XEN_PROPERTY_SEED": "3"]).check("low", body)
        let recipe = try #require(found).recipe
        let environment = try PropertyEnvironment(["XEN_PROPERTY_RECIPE": recipe.description])
        let again = try #require(try environment.check("low", body))
        #expect(again.recipe == recipe && again.seed == nil)
        let other = try #require(try environment.check("another", body))
        #expect(other.seed != nil)
        #expect(throws: RecipeError.self) {
            try environment.check("low") { (choices) throws(PropertyViolation) in _ = choices.choose(below: 3) }
        }
        #expect(throws: PropertyViolation("XEN_PROPERTY_RECIPE: \(RecipeError.otherVersion("2"))")) {
            try PropertyEnvironment(["XEN_PROPERTY_RECIPE": "xensim2:low:0"])
        }
    }

    @Test func `a property that does not hold is an issue of its test`() {
        withKnownIssue {
            checkProperty("fails", cases: 3) { _ in throw PropertyViolation("always") }
        } matching: { issue in
            issue.comments.contains { $0.rawValue.contains("repeat it with: xensim1:fails:") }
        }
    }
}

struct StatefulPropertyTests {
    /// A stack that loses its fourth element.
    struct BrokenStack: StatefulProperty {
        enum Command { case push(Int), pop }
        var elements: [Int] = []

        static func model(from choices: inout Choices) -> [Int] { [] }
        init(_ model: [Int]) {}
        static func command(for model: [Int], from choices: inout Choices) -> Command {
            choices.bool() ? .pop : .push(choices.choose(below: 100))
        }
        static func precondition(_ command: Command, _ model: [Int]) -> Bool {
            if case .pop = command { return !model.isEmpty }
            return true
        }
        mutating func apply(_ command: Command, to model: inout [Int]) throws(PropertyViolation) {
            switch command {
            case .push(let element):
                model.append(element)
                if elements.count < 3 { elements.append(element) }
            case .pop:
                try requireEqual(elements.popLast(), model.popLast(), "popped")
            }
        }
        mutating func checkInvariants(_ model: [Int]) throws(PropertyViolation) {
            try require(model.count < 10, "the model grew")
        }
    }

    @Test func `the smallest sequence of commands is found and shown`() throws {
        let failure = try #require(Property("stack", cases: 300, seed: 1).check(BrokenStack.self, length: 60))
        #expect(failure.notes.count == 5, "\(failure)")
        #expect(failure.notes.allSatisfy { $0.contains("push(") || $0.contains("pop") })
        #expect(failure.notes.last?.contains("pop") == true)
        #expect(failure.message.hasPrefix("popped: "))
    }
}
