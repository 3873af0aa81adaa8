// SPDX-License-Identifier: MIT

public import XenInterface
import XenStore

/// The store of a live host with its clients: those of this process take their events from an inbox, those on a socket from a queue of bytes.
struct LiveStore {
    var server = StoreServer()
    private var clients: [StoreConnectionID: Client] = [:]

    private struct Client {
        var events: [StoreWatchEvent] = []
        var waker: Waker?
    }

    mutating func connect(as domain: DomainID) -> StoreConnectionID {
        let id = server.connect(as: domain)
        clients[id] = Client()
        return id
    }

    mutating func disconnect(_ id: StoreConnectionID) {
        server.disconnect(id)
        clients[id] = nil
    }

    mutating func setWaker(_ waker: Waker, of id: StoreConnectionID) {
        clients[id]?.waker = waker
    }

    mutating func perform(
        _ request: StoreRequest,
        in transaction: StoreTransactionID,
        on id: StoreConnectionID
    ) -> StoreReply {
        var outputs: [StoreOutput] = []
        let reply = server.perform(request, in: transaction, on: id, into: &outputs)
        deliver(outputs)
        return reply
    }

    /// Takes all events of a client at once.
    mutating func takeEvents(of id: StoreConnectionID) -> [StoreWatchEvent] {
        guard let events = clients[id]?.events, !events.isEmpty else { return [] }
        clients[id]?.events = []
        return events
    }

    private mutating func deliver(_ outputs: [StoreOutput]) {
        for output in outputs {
            switch output {
            case .message(let message, let id):
                guard let event = StoreWatchEvent(message) else { continue }
                // Equal events that were not taken yet are one (D31).
                guard clients[id]?.events.contains(event) == false else { continue }
                clients[id]?.events.append(event)
                clients[id]?.waker?.wake()
            case .disconnected(let id):
                clients[id] = nil
            case .introduced, .released:
                break
            }
        }
    }
}

/// A connection to the store of a live host, within its process.
public final class LiveStoreConnection: StoreConnection {
    private let host: LiveHost
    private let id: StoreConnectionID
    private var events: [StoreWatchEvent] = []
    private var taken = 0

    init(as domain: DomainID, to host: LiveHost) {
        self.host = host
        id = host.store.withLock { $0.connect(as: domain) }
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
            taken = 0
            events = host.store.withLock { $0.takeEvents(of: id) }
        }
        guard taken < events.count else { return nil }
        taken += 1
        return events[taken - 1]
    }

    func setWaker(_ waker: Waker) {
        host.store.withLock { $0.setWaker(waker, of: id) }
    }
}
