// SPDX-License-Identifier: MIT

/// Where a machine puts its actions: a world's executor, a simulator's queue, or an array in a test.
public protocol ActionSink<Action>: ~Copyable {
    /// What the machine asks for.
    associatedtype Action

    /// Takes the next action; the order of calls is the order to carry out.
    mutating func append(_ action: Action)
}

extension Array: ActionSink {
    /// What the array collects.
    public typealias Action = Element
}
