// SPDX-License-Identifier: MIT

import XenBus

/// What an actor has still to do, first come first served; urgent work goes before the rest.
struct WorkQueue<Work: Hashable>: Hashable {
    private var items: [Work] = []
    private var start = 0

    var isEmpty: Bool { start == items.count }
    var count: Int { items.count - start }

    mutating func append(_ work: Work) {
        items.append(work)
    }

    /// Puts `work` before everything that waits.
    mutating func prepend(_ work: [Work]) {
        items.replaceSubrange(0..<start, with: work)
        start = 0
    }

    mutating func popFirst() -> Work? {
        // Mostly there is one: it is moved out, not copied.
        guard items.count != 1 else { return items.removeLast() }
        guard start < items.count else { return nil }
        let work = items[start]
        start += 1
        if start == items.count { removeAll() }
        return work
    }

    mutating func removeAll() {
        items.removeAll(keepingCapacity: true)
        start = 0
    }

    static func == (lhs: WorkQueue, rhs: WorkQueue) -> Bool {
        lhs.items[lhs.start...] == rhs.items[rhs.start...]
    }

    func hash(into hasher: inout Hasher) {
        hasher.combine(items[start...])
    }
}
