// SPDX-License-Identifier: MIT

/// Why a property does not hold, in words; what `require(_:_:)` throws.
public struct PropertyViolation: Error, Hashable, Sendable, CustomStringConvertible {
    /// What was expected and what was found.
    public let description: String

    /// States a violation.
    public init(_ description: String) {
        self.description = description
    }
}

/// Throws a `PropertyViolation` with `message` unless `condition` holds.
@inlinable
public func require(_ condition: Bool, _ message: @autoclosure () -> String) throws(PropertyViolation) {
    if !condition { throw PropertyViolation(message()) }
}

/// Throws a `PropertyViolation` that shows both values unless they are equal.
@inlinable
public func requireEqual<Value: Equatable>(
    _ found: Value,
    _ expected: Value,
    _ what: @autoclosure () -> String
) throws(PropertyViolation) {
    if found != expected { throw PropertyViolation("\(what()): \(found), expected \(expected)") }
}

/// A property that did not hold, made small.
public struct PropertyFailure: Sendable, CustomStringConvertible {
    /// The line that repeats the smallest failing run.
    public let recipe: Recipe
    /// The seed of the run that failed first; nil if it came from a recipe.
    public let seed: UInt64?
    /// How many cases held before it.
    public let casesPassed: Int
    /// How many runs it took to make it small.
    public let shrinkRuns: Int
    /// What went wrong in the smallest run.
    public let message: String
    /// What the smallest run noted (`Choices.note(_:)`).
    public let notes: [String]

    /// Several lines: what went wrong, the notes, how to repeat it.
    public var description: String {
        var lines = [message] + notes.map { "  " + $0 }
        lines.append("after \(casesPassed) cases that held; made small in \(shrinkRuns) runs")
        if let seed { lines.append("seed of the case: 0x" + String(seed, radix: 16)) }
        lines.append("repeat it with: \(recipe)")
        return lines.joined(separator: "\n")
    }
}

/// Runs a body many times with choices of its own, and makes what fails small.
///
/// ```swift
/// let property = Property("a byte comes out as it went in", cases: 200, seed: 7)
/// let failure = property.check { choices throws(PropertyViolation) in
///     let byte = choices.integer(in: UInt8.min...UInt8.max)
///     try requireEqual(decode(encode(byte)), byte, "the byte")
/// }
/// ```
///
/// It reads no environment and knows no test framework: a test wraps it, and reports the failure's description.
public struct Property: Sendable {
    /// What stands in the recipe's label.
    public let label: String
    /// How many cases are tried.
    public let cases: Int
    /// The seed from which the seed of each case is drawn.
    public let seed: UInt64
    /// How many runs making a failure small may take.
    public let shrinkLimit: Int

    /// Describes how a property is checked; `name` may be any text.
    public init(_ name: String, cases: Int = 100, seed: UInt64, shrinkLimit: Int = 2000) {
        label = Recipe.label(from: name)
        self.cases = cases
        self.seed = seed
        self.shrinkLimit = shrinkLimit
    }

    /// Tries the cases in turn and returns the first failure, made small; nil if the property held.
    ///
    /// `describe` puts the body's error into words.
    public func check<Failure: Error>(
        describe: (Failure) -> String,
        _ body: (inout Choices) throws(Failure) -> Void
    ) -> PropertyFailure? {
        var seeds = SplitMix64(seed: seed)
        for number in 0..<cases {
            let seed = seeds.next()
            var choices = Choices(seed: seed)
            if Property.error(&choices, body) != nil {
                return smallest(choices.values, seed: seed, passed: number, describe: describe, body)
            }
        }
        return nil
    }

    /// Tries the cases in turn; for bodies whose errors describe themselves.
    public func check<Failure: Error & CustomStringConvertible>(
        _ body: (inout Choices) throws(Failure) -> Void
    ) -> PropertyFailure? {
        check(describe: { $0.description }, body)
    }

    /// Repeats one recipe; nil if the property holds for it.
    ///
    /// Throws `RecipeError` if the recipe does not fit the body.
    public func replay<Failure: Error>(
        _ recipe: Recipe,
        describe: (Failure) -> String,
        _ body: (inout Choices) throws(Failure) -> Void
    ) throws(RecipeError) -> PropertyFailure? {
        var choices = recipe.choices()
        choices.explain()
        let error = Property.error(&choices, body)
        if let misfit = recipe.misfit(after: choices) { throw misfit }
        guard let error else { return nil }
        return PropertyFailure(
            recipe: recipe,
            seed: nil,
            casesPassed: 0,
            shrinkRuns: 0,
            message: describe(error),
            notes: choices.notes
        )
    }

    private func smallest<Failure: Error>(
        _ record: [UInt32],
        seed: UInt64,
        passed: Int,
        describe: (Failure) -> String,
        _ body: (inout Choices) throws(Failure) -> Void
    ) -> PropertyFailure {
        var shrinker = Shrinker(limit: shrinkLimit)
        let values = shrinker.shrink(record) { choices in Property.error(&choices, body) != nil }
        var choices = Choices(replaying: values)
        choices.explain()
        let error = Property.error(&choices, body)
        return PropertyFailure(
            recipe: Recipe(label: label, of: choices),
            seed: seed,
            casesPassed: passed,
            shrinkRuns: shrinker.runs,
            message: error.map(describe) ?? "the body fails only now and then: it depends on more than its choices",
            notes: choices.notes
        )
    }

    private static func error<Failure: Error>(
        _ choices: inout Choices,
        _ body: (inout Choices) throws(Failure) -> Void
    ) -> Failure? {
        do throws(Failure) {
            try body(&choices)
            return nil
        } catch {
            return error
        }
    }
}
