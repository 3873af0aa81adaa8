// SPDX-License-Identifier: MIT

/// The timers of a loop, soonest first.
///
/// One that is stopped, or started anew for later, keeps its place until that comes: both are done often, and cost next to nothing so.
struct TimerQueue {
    /// A timer, off until it is started.
    final class Entry {
        fileprivate let action: () -> Void
        /// When it is due; nil while it is off.
        fileprivate(set) var deadline: UInt64?
        /// The time it is queued by; nil while it is not in the queue.
        fileprivate var place: UInt64?

        init(_ action: @escaping () -> Void) {
            self.action = action
        }

        /// Whether it will fire.
        var isRunning: Bool { deadline != nil }

        /// Turns it off. Whoever its action refers to unowned does this before it goes.
        func cancel() {
            deadline = nil
        }
    }

    private var entries: [Entry] = []

    /// Turns a timer on, or has it fire at another time than it was to.
    mutating func start(_ entry: Entry, at deadline: UInt64) {
        entry.deadline = deadline
        if let place = entry.place {
            guard place > deadline else { return }
            entries.removeAll { $0 === entry }
        }
        insert(entry, at: deadline)
    }

    /// When the next timer is due; nil if none is on.
    mutating func next() -> UInt64? {
        while let first = entries.first {
            if let deadline = first.deadline, deadline == first.place { return deadline }
            entries.removeFirst()
            first.place = nil
            if let deadline = first.deadline { insert(first, at: deadline) }
        }
        return nil
    }

    /// Takes a timer that is due at `now`, and turns it off.
    mutating func takeDue(at now: UInt64) -> (() -> Void)? {
        guard let next = next(), next <= now else { return nil }
        let first = entries.removeFirst()
        first.place = nil
        first.deadline = nil
        return first.action
    }

    private mutating func insert(_ entry: Entry, at deadline: UInt64) {
        entry.place = deadline
        // Most timers run as long as the others of their kind, so that a new one belongs behind them.
        let before = entries.lastIndex { ($0.place ?? 0) <= deadline }
        entries.insert(entry, at: before.map { $0 + 1 } ?? 0)
    }
}
