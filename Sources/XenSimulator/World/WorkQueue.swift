// SPDX-License-Identifier: MIT

/// What an actor has still to do, first come first served; urgent work goes before the rest.
///
/// The first lies in the queue itself: an actor with one thing to do allocates nothing, and one that sleeps keeps nothing.
struct WorkQueue<Work: Hashable>: Hashable {
    private var first: Work?
    /// What comes behind the first; none if there is no first.
    private var others: [Work] = []
    /// How many of them were taken.
    private var taken = 0

    var isEmpty: Bool {
        if case .none = first { true } else { false }
    }

    mutating func append(_ work: consuming Work) {
        if isEmpty { first = work } else { others.append(work) }
    }

    /// Puts `work` before everything that waits.
    mutating func prepend(_ work: consuming Work) {
        let waiting = first.take()
        first = work
        guard let waiting else { return }
        if taken > 0 {
            taken -= 1
            others[taken] = waiting
        } else {
            others.insert(waiting, at: 0)
        }
    }

    /// Puts `work` before everything that waits.
    mutating func prepend(_ work: [Work]) {
        guard let next = work.first else { return }
        var rest = work
        if let waiting = first.take() {
            rest.append(waiting)
            rest += others[taken...]
        }
        first = next
        (others, taken) = rest.count > 1 ? (rest, 1) : ([], 0)
    }

    mutating func popFirst() -> Work? {
        guard let work = first.take() else { return nil }
        guard !others.isEmpty else { return work }
        if taken == others.count - 1 {
            first = others.removeLast()
            others = []
            taken = 0
        } else {
            first = others[taken]
            taken += 1
        }
        return work
    }

    mutating func removeAll() {
        self = WorkQueue()
    }

    static func == (lhs: WorkQueue, rhs: WorkQueue) -> Bool {
        lhs.first == rhs.first && lhs.others[lhs.taken...] == rhs.others[rhs.taken...]
    }

    func hash(into hasher: inout Hasher) {
        hasher.combine(first)
        hasher.combine(others[taken...])
    }
}
