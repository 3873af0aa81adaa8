// SPDX-License-Identifier: MIT

/// A thing with state, tested by random sequences of commands against a model of it.
///
/// The conforming type holds the real thing; `Model` is a plain value that is obviously right. A run draws commands for
/// the state the model is in, so that a sequence stays sensible while it is made small: the commands are drawn
/// anew for the states they now meet, and those whose precondition no longer holds are passed over.
public protocol StatefulProperty: ~Copyable {
    /// The obvious version of the thing.
    associatedtype Model
    /// One thing that can be done to it.
    associatedtype Command
    /// What a check that fails throws.
    associatedtype Failure: Error = PropertyViolation

    /// How the model begins.
    static func model(from choices: inout Choices) -> Model

    /// Makes the real thing, in the state that `model` begins in.
    init(_ model: Model)

    /// Draws something to do in the state of `model`.
    static func command(for model: Model, from choices: inout Choices) -> Command

    /// Whether `command` may be done in the state of `model`; true unless stated otherwise.
    static func precondition(_ command: Command, _ model: Model) -> Bool

    /// Does it to the real thing and to the model, and compares what came out.
    mutating func apply(_ command: Command, to model: inout Model) throws(Failure)

    /// What always holds; checked at the start and after each command.
    mutating func checkInvariants(_ model: Model) throws(Failure)
}

extension StatefulProperty where Self: ~Copyable {
    /// Every command may be done in every state.
    public static func precondition(_: Command, _: Model) -> Bool { true }

    /// Holds.
    public mutating func checkInvariants(_: Model) throws(Failure) {}

    /// One run: begins, draws up to `length` commands, and carries them out one by one.
    public static func run(_ choices: inout Choices, length: Int) throws(Failure) {
        var model = model(from: &choices)
        var system = Self(model)
        try system.checkInvariants(model)
        for step in 0..<length {
            guard choices.chance(length - step, in: length - step + 1) else { return }
            let command = command(for: model, from: &choices)
            guard precondition(command, model) else { continue }
            choices.note("\(step): \(Self.describe(command))")
            try system.apply(command, to: &model)
            try system.checkInvariants(model)
        }
    }

    static func describe(_ command: Command) -> String { "\(command)" }
}

extension Property {
    /// Tries sequences of at most `length` commands; the failure's notes are the commands of the smallest one.
    public func check<Tested: StatefulProperty & ~Copyable>(
        _: Tested.Type,
        length: Int = 50
    ) -> PropertyFailure? {
        check(describe: { "\($0)" }) { (choices: inout Choices) throws(Tested.Failure) in
            try Tested.run(&choices, length: length)
        }
    }
}
