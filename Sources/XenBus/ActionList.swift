// SPDX-License-Identifier: MIT

/// What a machine asks for at one event, in the order in which it is to be carried out.
///
/// The first two lie in the list itself: most events ask for no more, and allocate nothing then.
@frozen
public struct ActionList<Action>: ~Copyable {
    @usableFromInline
    var first: Action?
    /// What comes behind the first, if it was not taken.
    @usableFromInline
    var second: Action?
    /// What comes behind these, if anything does.
    @usableFromInline
    var others: [Action]?
    /// How many of the others were taken; never all.
    @usableFromInline
    var taken = 0

    /// Begins with nothing.
    @inlinable
    public init() {}

    // With a `deinit` to call, Swift 6.3 takes the members apart directly, and not by what the metadata says at run time.
    @inlinable
    deinit {}

    /// Adds an action behind the rest.
    @inlinable
    public mutating func append(_ action: consuming Action) {
        if case .none = others {
            if case .some = second {
                others = [action]
            } else if case .some = first {
                second = action
            } else {
                first = action
            }
        } else {
            others?.append(action)
        }
    }

    /// Takes the first action out; nil if there is none.
    @inlinable
    public mutating func next() -> Action? {
        if let action = first.take() { return action }
        if let action = second.take() { return action }
        guard let others else { return nil }
        let action = others[taken]
        taken += 1
        if taken == others.count {
            self.others = nil
            taken = 0
        }
        return action
    }

    /// Takes all actions out.
    @inlinable
    public mutating func all() -> [Action] {
        var actions: [Action] = []
        while let action = next() { actions.append(action) }
        return actions
    }
}
