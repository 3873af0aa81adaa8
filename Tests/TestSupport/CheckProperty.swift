// SPDX-License-Identifier: MIT

public import Foundation
public import Testing
public import XenExploration

/// What the environment says about property tests.
///
/// - `XEN_PROPERTY_CASES`: how many cases each property tries, instead of its own number.
/// - `XEN_PROPERTY_SEED`: the seed of every property, in decimal or as `0x…`; without it each has a fixed one of its own.
/// - `XEN_PROPERTY_RECIPE`: a recipe that a failure printed; its property tries that alone.
public struct PropertyEnvironment: Sendable {
    /// The cases asked for.
    public let cases: Int?
    /// The seed asked for.
    public let seed: UInt64?
    /// The recipe asked for.
    public let recipe: String?

    /// Reads the variables; a number that cannot be read is a mistake to hear of.
    public init(_ variables: [String: String] = ProcessInfo.processInfo.environment) throws {
        cases = try variables["XEN_PROPERTY_CASES"].map { text in
            guard let cases = Int(text), cases > 0 else { throw PropertyViolation("XEN_PROPERTY_CASES=\(text)") }
            return cases
        }
        seed = try variables["XEN_PROPERTY_SEED"].map { text in
            let seed = text.hasPrefix("0x") ? UInt64(text.dropFirst(2), radix: 16) : UInt64(text)
            guard let seed else { throw PropertyViolation("XEN_PROPERTY_SEED=\(text)") }
            return seed
        }
        recipe = variables["XEN_PROPERTY_RECIPE"]
    }

    /// Describes the checking of the property called `name`.
    public func property(_ name: String, cases: Int) -> Property {
        var hash = FixedHash()
        hash.combine(name)
        return Property(name, cases: self.cases ?? cases, seed: seed ?? hash.value)
    }
}

/// Checks a property and records an issue, with the recipe and the smallest failing run, if it does not hold.
///
/// ```swift
/// @Test func `bytes come out as they went in`() {
///     checkProperty(cases: 500) { choices in
///         let bytes = choices.array(count: 0...20) { $0.integer(in: UInt8.min...UInt8.max) }
///         try requireEqual(roundTrip(bytes), bytes, "the bytes")
///     }
/// }
/// ```
public func checkProperty(
    _ name: String = #function,
    cases: Int = 100,
    sourceLocation: SourceLocation = #_sourceLocation,
    _ body: (inout Choices) throws -> Void
) {
    report(sourceLocation) { environment in
        let property = environment.property(name, cases: cases)
        if let recipe = try environment.recipe.map(Recipe.init(parsing:)), recipe.label == property.label {
            return try property.replay(recipe, describe: { String(describing: $0) }, body)
        }
        return property.check(describe: { String(describing: $0) }, body)
    }
}

/// Checks a thing with state against its model, as `checkProperty(_:cases:sourceLocation:_:)` does a property.
public func checkStatefulProperty<Tested: StatefulProperty & ~Copyable>(
    _: Tested.Type,
    _ name: String = #function,
    cases: Int = 100,
    length: Int = 50,
    sourceLocation: SourceLocation = #_sourceLocation
) {
    checkProperty(name, cases: cases, sourceLocation: sourceLocation) { choices in
        try Tested.run(&choices, length: length)
    }
}

private func report(_ location: SourceLocation, _ check: (PropertyEnvironment) throws -> PropertyFailure?) {
    do {
        if let failure = try check(PropertyEnvironment()) {
            Issue.record(Comment(rawValue: failure.description), sourceLocation: location)
        }
    } catch {
        Issue.record(Comment(rawValue: String(describing: error)), sourceLocation: location)
    }
}
