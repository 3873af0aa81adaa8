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
    public var server: StoreServer
    private var inboxes: [StoreConnectionID: Inbox] = [:]
    private var woken: [StoreConnectionID] = []
    /// What the store put out that is no message: introductions and releases, oldest first.
    public private(set) var notices: [StoreOutput] = []

    private struct Inbox: Hashable {
        var events: [StoreWatchEvent] = []
        var taken = 0
    }

    /// Shares a store.
    public init(_ server: StoreServer = StoreServer()) {
        self.server = server
    }

    /// Adds a client of a domain.
    public func connect(as domain: DomainID) -> HostedStoreConnection {
        HostedStoreConnection(host: self, id: server.connect(as: domain))
    }

    /// Removes a client, with its watches and transactions.
    public func disconnect(_ id: StoreConnectionID) {
        server.disconnect(id)
        inboxes[id] = nil
    }

    /// Says that the host has a domain no more; see `StoreServer.domainDestroyed(_:into:)`.
    public func domainDestroyed(_ domain: DomainID) {
        var outputs: [StoreOutput] = []
        server.domainDestroyed(domain, into: &outputs)
        deliver(outputs)
    }

    /// Takes the introductions and releases since the last call.
    public func takeNotices() -> [StoreOutput] {
        defer { notices = [] }
        return notices
    }

    /// Takes the clients to whom an event came since the last call, in the order of their first one; nil if there are none.
    public func takeWoken() -> [StoreConnectionID]? {
        guard !woken.isEmpty else { return nil }
        defer { woken.removeAll() }
        return woken
    }

    /// Hashes the store, and the events that wait for a client.
    public func hash(into hasher: inout Hasher) {
        hasher.combine(server)
        hasher.combine(inboxes)
    }

    /// Whether a client has events to take.
    public func hasEvents(_ id: StoreConnectionID) -> Bool {
        inboxes[id].map { $0.taken < $0.events.count } ?? false
    }

    /// Carries out a request of a client.
    public func perform(
        _ request: StoreRequest,
        in transaction: StoreTransactionID = .none,
        on connection: StoreConnectionID
    ) -> StoreReply {
        var outputs: [StoreOutput] = []
        let reply = server.perform(request, in: transaction, on: connection, into: &outputs)
        deliver(outputs)
        return reply
    }

    /// Takes a client's oldest event.
    public func nextWatchEvent(_ id: StoreConnectionID) -> StoreWatchEvent? {
        guard var inbox = inboxes.removeValue(forKey: id) else { return nil }
        guard inbox.taken < inbox.events.count else { return nil }
        let event = inbox.events[inbox.taken]
        inbox.taken += 1
        if inbox.taken < inbox.events.count { inboxes[id] = inbox }
        return event
    }

    private func deliver(_ outputs: [StoreOutput]) {
        for output in outputs {
            switch output {
            case .message(let message, let id):
                if let event = StoreWatchEvent(message) { deliver(event, to: id) }
            case .disconnected(let id):
                inboxes[id] = nil
                notices.append(output)
            case .introduced, .released:
                notices.append(output)
            }
        }
    }

    private func deliver(_ event: StoreWatchEvent, to id: StoreConnectionID) {
        let pending = inboxes[id, default: Inbox()]
        let isMergeable = !event.path.isSpecial
        if isMergeable, pending.events[pending.taken...].contains(event) { return }
        inboxes[id, default: Inbox()].events.append(event)
        if !woken.contains(id) { woken.append(id) }
    }
}

/// A client of a `StoreHost`.
public struct HostedStoreConnection: StoreConnection {
    /// The store.
    public let host: StoreHost
    /// The connection's name in the store.
    public let id: StoreConnectionID

    /// Carries out one request and returns its reply.
    public func perform(_ request: StoreRequest, in transaction: StoreTransactionID) -> StoreReply {
        host.perform(request, in: transaction, on: id)
    }

    /// Takes the oldest watch event that has not been taken yet.
    public func nextWatchEvent() -> StoreWatchEvent? {
        host.nextWatchEvent(id)
    }
}
