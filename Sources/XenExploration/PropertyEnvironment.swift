// SPDX-License-Identifier: MIT

/// What the environment says about property tests, so that a build server can try more of them, and others each day.
///
/// - `XEN_PROPERTY_CASES`: how many cases each property tries, instead of its own number.
/// - `XEN_PROPERTY_SEED`: the seed of every property, in decimal or as `0x…`; without it each has a fixed one of its own.
/// - `XEN_PROPERTY_RECIPE`: a recipe that a failure printed; its property tries that alone.
///
/// ```swift
/// @Test func `bytes come out as they went in`() throws {
///     let environment = try PropertyEnvironment(ProcessInfo.processInfo.environment)
///     let failure = try environment.check("bytes", cases: 500) { choices throws(PropertyViolation) in
///         let bytes = choices.array(count: 0...20) { $0.integer(in: UInt8.min...UInt8.max) }
///         try requireEqual(roundTrip(bytes), bytes, "the bytes")
///     }
///     #expect(failure == nil, "\(failure?.description ?? "")")
/// }
/// ```
public struct PropertyEnvironment: Sendable {
    /// The cases asked for.
    public let cases: Int?
    /// The seed asked for.
    public let seed: UInt64?
    /// The recipe asked for.
    public let recipe: Recipe?

    /// Reads the variables; what cannot be read is a mistake to hear of.
    public init(_ variables: [String: String]) throws(PropertyViolation) {
        cases = try PropertyEnvironment.value(of: "XEN_PROPERTY_CASES", in: variables) { text in
            Int(text).flatMap { $0 > 0 ? $0 : nil }
        }
        seed = try PropertyEnvironment.value(of: "XEN_PROPERTY_SEED", in: variables) { text in
            text.hasPrefix("0x") ? UInt64(text.dropFirst(2), radix: 16) : UInt64(text)
        }
        do {
            recipe = try variables["XEN_PROPERTY_RECIPE"].map { text throws(RecipeError) in try Recipe(parsing: text) }
        } catch {
            throw PropertyViolation("XEN_PROPERTY_RECIPE: \(error)")
        }
    }

    private static func value<Value>(
        of name: String,
        in variables: [String: String],
        _ parse: (String) -> Value?
    ) throws(PropertyViolation) -> Value? {
        guard let text = variables[name] else { return nil }
        guard let value = parse(text) else { throw PropertyViolation("\(name)=\(text)") }
        return value
    }

    /// Describes the checking of the property called `name`.
    public func property(_ name: String, cases: Int = 100) -> Property {
        var hash = FixedHash()
        hash.combine(name)
        return Property(name, cases: self.cases ?? cases, seed: seed ?? hash.value)
    }

    /// Checks the property called `name`, or repeats the recipe if it is this property's; nil if the property holds.
    ///
    /// Throws `RecipeError` if the recipe does not fit the body.
    public func check<Failure: Error>(
        _ name: String,
        cases: Int = 100,
        describe: (Failure) -> String,
        _ body: (inout Choices) throws(Failure) -> Void
    ) throws(RecipeError) -> PropertyFailure? {
        let property = property(name, cases: cases)
        if let recipe, recipe.label == property.label {
            return try property.replay(recipe, describe: describe, body)
        }
        return property.check(describe: describe, body)
    }

    /// Checks the property called `name`, for bodies whose errors describe themselves.
    public func check<Failure: Error & CustomStringConvertible>(
        _ name: String,
        cases: Int = 100,
        _ body: (inout Choices) throws(Failure) -> Void
    ) throws(RecipeError) -> PropertyFailure? {
        try check(name, cases: cases, describe: { $0.description }, body)
    }
}
