// SPDX-License-Identifier: MIT

import Foundation
public import Testing
public import XenExploration

extension PropertyEnvironment {
    /// Reads the environment of this process.
    public init() throws {
        try self.init(ProcessInfo.processInfo.environment)
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
    do {
        let environment = try PropertyEnvironment()
        let failure = try environment.check(name, cases: cases, describe: { String(describing: $0) }, body)
        if let failure { Issue.record(Comment(rawValue: failure.description), sourceLocation: sourceLocation) }
    } catch {
        Issue.record(Comment(rawValue: String(describing: error)), sourceLocation: sourceLocation)
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
