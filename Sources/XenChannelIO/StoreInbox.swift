// SPDX-License-Identifier: MIT

import Synchronization
import XenInterface
import XenStore

/// The watch events of a client of this process that were not taken yet. Used with the store's lock held, but for `hasEvents`.
final class StoreInbox: @unchecked Sendable {
    /// Whether a look is worth the lock; set before the signal is raised.
    let hasEvents = Atomic(false)
    private var events: [StoreWatchEvent] = []
    var signal: Signal?

    func put(contentsOf events: Span<StoreEvent>) {
        for index in events.indices { put(events[index]) }
    }

    private func put(_ event: StoreEvent) {
        guard let watchEvent = event.watchEvent else { return }
        // Equal events that were not taken yet are one (D31).
        guard !event.isMergeable || !events.contains(watchEvent) else { return }
        events.append(watchEvent)
        hasEvents.store(true, ordering: .releasing)
        signal?.raise()?.interrupt()
    }

    /// Takes all events at once.
    func takeAll() -> [StoreWatchEvent] {
        hasEvents.store(false, ordering: .releasing)
        defer { events = [] }
        return events
    }
}
