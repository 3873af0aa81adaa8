// SPDX-License-Identifier: MIT

import Synchronization
public import XenInterface
import XenStore

/// A connection to the store of a live host: within its process, or through a guest's own xenstore ring.
///
/// Belongs to one thread.
public final class LiveStoreConnection: StoreConnection {
    private let host: LiveHost
    private let domain: DomainID
    private var transport: Transport
    private var events: [StoreWatchEvent] = []
    private var taken = 0

    private enum Transport {
        case direct(StoreConnectionID, StoreInbox)
        case ring(GuestStoreRing)
    }

    init(as domain: DomainID, to host: LiveHost) {
        self.host = host
        self.domain = domain
        let (id, inbox) = host.store.withLock { $0.connect(as: domain) }
        transport = .direct(id, inbox)
    }

    deinit {
        if case .direct(let id, _) = transport { host.store.withLock { $0.disconnect(id) } }
    }

    /// Whether requests go through the guest's ring.
    public var usesRing: Bool {
        if case .ring = transport { true } else { false }
    }

    /// Carries out one request and returns its reply; `EIO` once the ring is broken or the domain released.
    public func perform(_ request: StoreRequest, in transaction: StoreTransactionID = .none) -> StoreReply {
        switch transport {
        case .direct(let id, _): host.store.withLock { $0.perform(request, in: transaction, on: id) }
        case .ring(let ring): ring.perform(request, in: transaction) { events.append($0) }
        }
    }

    /// Forgets what an earlier user of the connection left: its watches, its transactions, and events that it did not take (D24).
    func reset() {
        _ = perform(.resetWatches)
        events = []
        taken = 0
    }

    /// Takes the oldest watch event that has not been taken yet.
    public func nextWatchEvent() -> StoreWatchEvent? {
        if taken == events.count {
            taken = 0
            events.removeAll(keepingCapacity: true)
            switch transport {
            case .direct(_, let inbox):
                guard inbox.hasEvents.load(ordering: .acquiring) else { return nil }
                events = host.store.withLock { _ in inbox.takeAll() }
            case .ring(let ring):
                ring.takeEvents { events.append($0) }
            }
        }
        guard taken < events.count else { return nil }
        taken += 1
        return events[taken - 1]
    }

    /// Talks through the page and port that the domain was introduced with, from now on: watches of before are gone, and events.
    func useRing(_ page: PageMemory, port: EventChannelPort) {
        events = []
        taken = 0
        if case .direct(let id, _) = transport { host.store.withLock { $0.disconnect(id) } }
        transport = .ring(GuestStoreRing(of: domain, in: host, page: page, port: port))
    }

    func setWaker(_ waker: Waker) {
        // A guest at its ring is woken by its port.
        if case .direct(_, let inbox) = transport { host.store.withLock { _ in inbox.waker = waker } }
    }
}
