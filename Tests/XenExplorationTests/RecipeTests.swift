// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenExploration

struct RecipeTests {
    @Test func `a recipe is one readable line`() throws {
        #expect(Recipe(label: "hotplug", source: .seed(0x5EED)).description == "xensim1:hotplug:seed=5eed")
        let values: [UInt32] = [0, 3, 1, 0x12, 0x12, 0x12, 0xFF, 0, 0]
        #expect(
            Recipe(label: "a", source: .values(values), fingerprint: 0xC0FFEE).description
                == "xensim1:a:0.3.1.12x3.ff.0x2~c0ffee"
        )
        #expect(Recipe(label: "a", source: .values([])).description == "xensim1:a:-")
    }

    @Test func `the fingerprint of the same questions is the same for ever, or old recipes would not fit`() {
        var choices = Choices(seed: 1)
        for bound in [10, 3, 700] { _ = choices.choose(below: bound) }
        #expect(Recipe(label: "a", seed: 1, of: choices).description == "xensim1:a:seed=1~d238a7f")
    }

    @Test func `what is written is read back`() {
        checkProperty(cases: 300) { choices in
            let values = choices.array(count: 0...30) { $0.integer(in: UInt32.min...UInt32.max, corners: [0, .max]) }
            let seed = choices.integer(in: UInt64.min...UInt64.max)
            let recipe = Recipe(
                label: choices.pick(from: ["a", "ring-4,faults=all", "x.y_z/7+8"]),
                source: choices.bool() ? .seed(seed) : .values(values),
                fingerprint: choices.bool() ? choices.integer(in: UInt32.min...UInt32.max) : nil
            )
            try requireEqual(try Recipe(parsing: "  \(recipe)\n"), recipe, "the recipe")
        }
    }

    @Test(arguments: [
        ("", RecipeError.notARecipe),
        ("xensim", .notARecipe),
        ("xensi1:a:0", .notARecipe),
        ("xensim2:a:0", .otherVersion("2")),
        ("xensim01:a:0", .otherVersion("01")),
        ("xensim1:a", .malformed("it has no label and choices")),
        ("xensim1::0", .malformed("its label is empty or has characters it may not have")),
        ("xensim1:a b:0", .malformed("its label is empty or has characters it may not have")),
        ("xensim1:a:", .malformed("a number is missing or too long")),
        ("xensim1:a:0..1", .malformed("a number is missing or too long")),
        ("xensim1:a:1G", .malformed("a number has characters that are not hexadecimal digits")),
        ("xensim1:a:100000000", .malformed("a number is too high")),
        ("xensim1:a:1x400000", .malformed("a number is too high")),
        ("xensim1:a:1x2x3", .malformed("a choice is repeated twice over")),
        ("xensim1:a:0~1~2", .malformed("it has two fingerprints")),
        ("xensim1:a:seed=", .malformed("a number is missing or too long")),
        ("xensim1:a:seed=11112222333344445", .malformed("a number is missing or too long")),
    ])
    func `a text that is no recipe is told why`(text: String, expected: RecipeError) {
        #expect(throws: expected) { try Recipe(parsing: text) }
    }

    @Test func `no text at all makes the reader trap`() {
        checkProperty(cases: 500) { choices in
            let alphabet = Array("xensim1:a.0~=sedf-x9 é".utf8)
            let text = choices.array(count: 0...30) { choices in choices.pick(from: alphabet) }
            let start = choices.bool() ? "xensim1:a:" : ""
            do {
                let recipe = try Recipe(parsing: start + String(decoding: text, as: UTF8.self))
                try requireEqual(try Recipe(parsing: recipe.description), recipe, "read again")
            } catch is RecipeError {
                return
            }
        }
    }

    @Test func `a very long repetition is refused before it takes memory`() {
        let text = "xensim1:a:" + Array(repeating: "1xfffff", count: 5).joined(separator: ".")
        #expect(throws: RecipeError.malformed("it has too many choices")) { try Recipe(parsing: text) }
    }

    @Test func `a recipe that no longer fits says so`() throws {
        func run(_ choices: inout Choices, bounds: [Int]) { for bound in bounds { _ = choices.choose(below: bound) } }
        var made = Choices(seed: 4)
        run(&made, bounds: [10, 10, 10])
        for recipe in [Recipe(label: "a", of: made), Recipe(label: "a", seed: 4, of: made)] {
            var same = recipe.choices()
            run(&same, bounds: [10, 10, 10])
            #expect(recipe.misfit(after: same) == nil)
            for bounds in [[10, 10, 11], [10, 10], [10, 10, 10, 10], [2, 2, 2]] {
                var other = recipe.choices()
                run(&other, bounds: bounds)
                let misfit = try #require(recipe.misfit(after: other))
                #expect(misfit.description.hasPrefix("the recipe no longer fits the program: "))
            }
        }
    }

    @Test func `a recipe without a fingerprint must at least be used up, and suffice`() {
        let recipe = Recipe(label: "a", source: .values([1, 2, 3]))
        for (count, fits) in [(2, false), (3, true), (4, false)] {
            var choices = recipe.choices()
            for _ in 0..<count { _ = choices.choose(below: 10) }
            #expect((recipe.misfit(after: choices) == nil) == fits)
        }
    }

    @Test func `any text becomes a label`() {
        checkProperty { choices in
            let text = String(
                decoding: choices.array(count: 0...12) { $0.integer(in: UInt8.min...UInt8.max) },
                as: UTF8.self
            )
            try require(Recipe.isLabel(Recipe.label(from: text)), "\(text)")
        }
        #expect(Recipe.label(from: "`a byte: comes out`()") == "a-byte-comes-out-()")
    }
}
