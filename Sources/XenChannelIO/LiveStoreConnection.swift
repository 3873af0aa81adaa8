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
    // Looked at and changed by single steps, none of which comes back here.
    @exclusivity(unchecked) private var transport: Transport
    @exclusivity(unchecked) private var events: [StoreWatchEvent] = []
    @exclusivity(unchecked) private var taken = 0
    /// The port of the guest's ring may have fired since that was read.
    private var mustRead = true
    private var signal: Signal?

    private enum Transport {
        case direct(StoreConnectionID, StoreInbox)
        case ring(GuestStoreRing)
    }

    init(as domain: DomainID, to host: LiveHost) {
        self.host = host
        self.domain = domain
        let (id, inbox) = host.store.withLock { $0.connect(as: domain) }
        unsafe transport = .direct(id, inbox)
    }

    deinit {
        if case .direct(let id, _) = unsafe transport { host.store.withLock { $0.disconnect(id) } }
    }

    /// Whether requests go through the guest's ring.
    public var usesRing: Bool {
        if case .ring = unsafe transport { true } else { false }
    }

    /// Carries out one request and returns its reply; through a ring `E2BIG` for what fits no message, and `EIO` once it
    /// is broken or the domain released.
    public func perform(_ request: StoreRequest, in transaction: StoreTransactionID = .none) -> StoreReply {
        switch unsafe transport {
        case .direct(let id, _): host.store.withLock { $0.perform(request, in: transaction, on: id) }
        case .ring(let ring): performThrough(ring, request, in: transaction)
        }
    }

    private func performThrough(
        _ ring: GuestStoreRing,
        _ request: StoreRequest,
        in transaction: StoreTransactionID
    ) -> StoreReply {
        let before = unsafe events.count
        let reply = ring.perform(request, in: transaction) { unsafe events.append($0) }
        if unsafe events.count > before { signal?.raise()?.interrupt() }
        return reply
    }

    /// Whether there may be an event to take.
    var mayHaveEvent: Bool {
        guard unsafe taken == events.count else { return true }
        return switch unsafe transport {
        case .direct(_, let inbox): inbox.hasEvents.load(ordering: .acquiring)
        case .ring: mustRead
        }
    }

    /// A port of the domain fired, and may be that of its ring.
    func portFired() {
        mustRead = true
    }

    /// Forgets what an earlier user of the connection left: its watches, its transactions, and events that it did not take (D24).
    func reset() {
        _ = perform(.resetWatches)
        unsafe events = []
        unsafe taken = 0
    }

    /// Takes the oldest watch event that has not been taken yet.
    public func nextWatchEvent() -> StoreWatchEvent? {
        if unsafe taken == events.count {
            unsafe taken = 0
            unsafe events.removeAll(keepingCapacity: true)
            switch unsafe transport {
            case .direct(_, let inbox):
                guard inbox.hasEvents.load(ordering: .acquiring) else { return nil }
                unsafe events = host.store.withLock { _ in inbox.takeAll() }
            case .ring(let ring):
                mustRead = false
                ring.takeEvents { unsafe events.append($0) }
            }
        }
        guard unsafe taken < events.count else { return nil }
        unsafe taken += 1
        return unsafe events[taken - 1]
    }

    /// Talks through the page and port that the domain was introduced with, from now on: watches of before are gone, and events.
    func useRing(_ page: PageMemory, port: EventChannelPort) {
        unsafe events = []
        unsafe taken = 0
        mustRead = true
        if case .direct(let id, _) = unsafe transport { host.store.withLock { $0.disconnect(id) } }
        unsafe transport = .ring(GuestStoreRing(of: domain, in: host, page: page, port: port))
        signal?.raise()?.interrupt()
    }

    func setSignal(_ signal: Signal) {
        self.signal = signal
        // A guest at its ring is told by its port.
        if case .direct(_, let inbox) = unsafe transport { host.store.withLock { _ in inbox.signal = signal } }
    }
}
