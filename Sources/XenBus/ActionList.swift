// SPDX-License-Identifier: MIT

/// What a machine asks for at one event, in the order in which it is to be carried out.
///
/// The first action lies in the list itself: most events ask for no more than one, and allocate nothing then.
@frozen
public struct ActionList<Action>: Sequence, IteratorProtocol {
    @usableFromInline
    var first: Action?
    @usableFromInline
    var others: [Action] = []
    @usableFromInline
    var taken = 0

    /// Begins with nothing.
    @inlinable
    public init() {}

    /// Adds an action behind the rest.
    @inlinable
    public mutating func append(_ action: consuming Action) {
        if first == nil, taken == others.count { first = action } else { others.append(action) }
    }

    /// Takes the first action out; nil if there is none.
    @inlinable
    public mutating func next() -> Action? {
        if let action = first.take() { return action }
        guard taken < others.count else { return nil }
        taken += 1
        return others[taken - 1]
    }
}
