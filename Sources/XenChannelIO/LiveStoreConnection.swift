// SPDX-License-Identifier: MIT

import Synchronization
public import XenInterface
import XenStore

/// A connection to the store of a live host, within its process.
public final class LiveStoreConnection: StoreConnection {
    private let host: LiveHost
    private let id: StoreConnectionID
    private let inbox: StoreInbox
    private var events: [StoreWatchEvent] = []
    private var taken = 0

    init(as domain: DomainID, to host: LiveHost) {
        self.host = host
        (id, inbox) = host.store.withLock { $0.connect(as: domain) }
    }

    deinit {
        host.store.withLock { [id] in $0.disconnect(id) }
    }

    /// Carries out one request and returns its reply.
    public func perform(_ request: StoreRequest, in transaction: StoreTransactionID = .none) -> StoreReply {
        host.store.withLock { $0.perform(request, in: transaction, on: id) }
    }

    /// Takes the oldest watch event that has not been taken yet.
    public func nextWatchEvent() -> StoreWatchEvent? {
        if taken == events.count {
            guard inbox.hasEvents.load(ordering: .acquiring) else { return nil }
            taken = 0
            events = host.store.withLock { _ in inbox.takeAll() }
        }
        guard taken < events.count else { return nil }
        taken += 1
        return events[taken - 1]
    }

    func setWaker(_ waker: Waker) {
        host.store.withLock { _ in inbox.waker = waker }
    }
}
