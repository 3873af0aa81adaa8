// SPDX-License-Identifier: MIT

public import XenInterface

/// A store that several clients of one process share, without a wire between: for worlds of one thread, and for tests.
///
/// It keeps the events of each connection until they are taken, equal ones merged as in xenstored's own queues (D31).
/// Not safe for use from several threads at once.
///
/// ```swift
/// let host = StoreHost()
/// var toolstack = host.connect(as: .dom0)
/// _ = toolstack.perform(.write(path, "1"), in: .none)
/// ```
public final class StoreHost {
    /// The store itself.
    public var server: StoreServer {
        get { unsafe store }
        set { unsafe store = newValue }
    }
    // Nothing that is called while they change comes back here: that is not checked at every request.
    @exclusivity(unchecked) private var store: StoreServer
    @exclusivity(unchecked) private var mailbox = Mailbox()

    /// Shares a store.
    public init(_ server: StoreServer = StoreServer()) {
        unsafe store = server
    }

    /// Adds a client of a domain.
    public func connect(as domain: DomainID) -> HostedStoreConnection {
        HostedStoreConnection(host: self, id: unsafe store.connect(as: domain))
    }

    /// Removes a client, with its watches and transactions.
    public func disconnect(_ id: StoreConnectionID) {
        unsafe store.disconnect(id)
        unsafe mailbox.remove(id)
    }

    /// Says that the host has a domain no more; see `StoreServer.domainDestroyed(_:into:)`.
    public func domainDestroyed(_ domain: DomainID) {
        unsafe store.domainDestroyed(domain, into: &mailbox)
    }

    /// What the store put out that is no message and was not taken: introductions and releases, oldest first.
    public var notices: [StoreOutput] { unsafe mailbox.notices }

    /// Takes the introductions and releases since the last call.
    public func takeNotices() -> [StoreOutput] {
        defer { unsafe mailbox.notices = [] }
        return unsafe mailbox.notices
    }

    /// Whether an event came to anybody since all were taken.
    public var hasWoken: Bool { unsafe mailbox.hasWoken }

    /// Takes one of the clients to whom an event came since they were taken last, in the order of their first one; nil if all were taken.
    public func nextWoken() -> StoreConnectionID? {
        unsafe mailbox.nextWoken()
    }

    /// How many watches are registered.
    public var watchCount: Int { unsafe store.watchCount }

    /// How many transactions are open.
    public var transactionCount: Int { unsafe store.transactionCount }

    /// Hashes the store, and the events that wait for a client.
    public func hash(into hasher: inout Hasher) {
        hasher.combine(unsafe store)
        unsafe mailbox.hash(into: &hasher)
    }

    /// Whether a client has events to take.
    public func hasEvents(_ id: StoreConnectionID) -> Bool {
        unsafe mailbox.hasEvents(id)
    }

    /// Carries out a request of a client.
    public func perform(
        _ request: StoreRequest,
        in transaction: StoreTransactionID = .none,
        on connection: StoreConnectionID
    ) -> StoreReply {
        unsafe store.perform(request, in: transaction, on: connection, into: &mailbox)
    }

    /// Takes a client's oldest event.
    public func nextWatchEvent(_ id: StoreConnectionID) -> StoreWatchEvent? {
        unsafe mailbox.next(id)
    }
}

/// The events that wait for the clients of a `StoreHost`, and what else its store put out.
private struct Mailbox: StoreOutputSink {
    /// By the connection's slot.
    private var inboxes: [Inbox?] = []
    /// To whom events came, and how many of them were told.
    private var woken: [StoreConnectionID] = []
    private var told = 0
    var notices: [StoreOutput] = []

    struct Inbox {
        let id: StoreConnectionID
        var events: [StoreEvent] = []
        var taken = 0

        var hasEvents: Bool { taken < events.count }
    }

    /// Hashes what waits; an inbox that was emptied is as good as none.
    func hash(into hasher: inout Hasher) {
        for case let inbox? in inboxes where inbox.hasEvents {
            hasher.combine(inbox.id)
            hasher.combine(inbox.events[inbox.taken...])
        }
    }

    mutating func append(_ output: StoreOutput) {
        switch output {
        case .message:
            // Nothing but replies, which whoever asked has as what `perform` returned.
            break
        case .disconnected(let id):
            remove(id)
            notices.append(output)
        case .introduced, .released:
            notices.append(output)
        }
    }

    mutating func append(contentsOf events: Span<StoreEvent>, to id: StoreConnectionID) {
        for index in events.indices { append(events[index], to: id) }
    }

    private mutating func append(_ event: consuming StoreEvent, to id: StoreConnectionID) {
        guard event.hasPath else { return }
        let slot = Int(id.slot)
        while inboxes.count <= slot { inboxes.append(nil) }
        if inboxes[slot]?.id != id { inboxes[slot] = Inbox(id: id) }
        if inboxes[slot]?.add(event) ?? false, !woken[told...].contains(id) { woken.append(id) }
    }

    var hasWoken: Bool { !woken.isEmpty }

    mutating func nextWoken() -> StoreConnectionID? {
        guard told < woken.count else {
            // Item by item, as those of an inbox.
            while !woken.isEmpty { woken.removeLast() }
            told = 0
            return nil
        }
        told += 1
        return woken[told - 1]
    }

    func hasEvents(_ id: StoreConnectionID) -> Bool {
        let slot = Int(id.slot)
        guard slot < inboxes.count, let inbox = inboxes[slot], inbox.id == id else { return false }
        return inbox.hasEvents
    }

    mutating func next(_ id: StoreConnectionID) -> StoreWatchEvent? {
        hasEvents(id) ? inboxes[Int(id.slot)]?.next().watchEvent : nil
    }

    mutating func remove(_ id: StoreConnectionID) {
        let slot = Int(id.slot)
        if slot < inboxes.count, inboxes[slot]?.id == id { inboxes[slot] = nil }
    }
}

extension Mailbox.Inbox {
    /// Adds an event, unless it is merged with one that waits; returns whether it was added.
    mutating func add(_ event: consuming StoreEvent) -> Bool {
        if hasEvents, event.isMergeable {
            for index in taken..<events.count where events[index] == event { return false }
        }
        events.append(event)
        return true
    }

    mutating func next() -> StoreEvent {
        guard taken == events.count - 1 else {
            taken += 1
            return events[taken - 1]
        }
        let last = events.removeLast()
        // Item by item: `removeAll` costs far more for the few that there mostly are.
        while !events.isEmpty { events.removeLast() }
        taken = 0
        return last
    }
}

/// A client of a `StoreHost`.
public struct HostedStoreConnection: StoreConnection {
    /// The store.
    public let host: StoreHost
    /// The connection's name in the store.
    public let id: StoreConnectionID

    /// Whether a watch event waits.
    public var hasEvents: Bool { host.hasEvents(id) }

    /// Carries out one request and returns its reply.
    public func perform(_ request: StoreRequest, in transaction: StoreTransactionID) -> StoreReply {
        host.perform(request, in: transaction, on: id)
    }

    /// Takes the oldest watch event that has not been taken yet.
    public func nextWatchEvent() -> StoreWatchEvent? {
        host.nextWatchEvent(id)
    }
}
