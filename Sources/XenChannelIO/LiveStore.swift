// SPDX-License-Identifier: MIT

import Synchronization
import XenInterface
import XenStore

/// The store of a live host with its clients: those of this process take their events from an inbox, those on a socket from a queue of bytes.
struct LiveStore {
    var server = StoreServer()
    private var clients: [StoreConnectionID: Client] = [:]
    /// Clients on sockets for which something was queued since the last look.
    private var unsent: [StoreConnectionID] = []
    /// Wakes the loop that serves the sockets.
    private var socketWaker: Waker?

    private enum Client {
        case local(StoreInbox)
        case socket(StoreOutputQueue)
    }

    // MARK: Clients of this process

    mutating func connect(as domain: DomainID) -> (id: StoreConnectionID, inbox: StoreInbox) {
        let id = server.connect(as: domain)
        let inbox = StoreInbox()
        clients[id] = .local(inbox)
        return (id, inbox)
    }

    mutating func disconnect(_ id: StoreConnectionID) {
        server.disconnect(id)
        clients[id] = nil
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

    // MARK: Clients on sockets

    /// Adds a client on a socket; `waker` wakes the loop that serves all of them.
    mutating func connectSocket(waker: Waker) -> StoreConnectionID {
        let id = server.connect(as: .dom0)
        clients[id] = .socket(StoreOutputQueue())
        socketWaker = waker
        return id
    }

    /// Answers a message of a client on a socket.
    mutating func handle(_ message: StoreMessage, from id: StoreConnectionID) {
        var outputs: [StoreOutput] = []
        server.handle(message, from: id, into: &outputs)
        deliver(outputs)
    }

    /// Takes the names of the clients for which something was queued since the last call.
    mutating func takeUnsent() -> [StoreConnectionID] {
        guard !unsent.isEmpty else { return [] }
        defer { unsent.removeAll(keepingCapacity: true) }
        return unsent
    }

    /// How many bytes wait for a client.
    func unsentCount(of id: StoreConnectionID) -> Int {
        if case .socket(let queue) = clients[id] { queue.byteCount } else { 0 }
    }

    /// Lets `body` send what waits for a client, and returns how many bytes are left; nil if the client is gone.
    mutating func send(to id: StoreConnectionID, _ body: (Span<UInt8>) -> Int) -> Int? {
        guard case .socket(var queue) = clients[id] else { return nil }
        clients[id] = .socket(StoreOutputQueue())
        queue.advance(by: queue.withUnsentBytes(body))
        clients[id] = .socket(queue)
        return queue.byteCount
    }

    // MARK: Delivery

    private mutating func deliver(_ outputs: [StoreOutput]) {
        for output in outputs {
            switch output {
            case .message(let message, let id): deliver(message, to: id)
            case .disconnected(let id): clients[id] = nil
            case .introduced, .released: break
            }
        }
    }

    private mutating func deliver(_ message: StoreMessage, to id: StoreConnectionID) {
        switch clients[id] {
        case .local(let inbox):
            if let event = StoreWatchEvent(message) { inbox.put(event) }
        case .socket(var queue):
            clients[id] = nil
            let isFirst = queue.isEmpty
            if queue.append(message) == .overflow {
                // It does not read what it asked for: it harms nobody but itself.
                server.disconnect(id)
            } else {
                clients[id] = .socket(queue)
            }
            if isFirst || clients[id] == nil {
                unsent.append(id)
                socketWaker?.wake()
            }
        case nil:
            break
        }
    }
}

/// The watch events of a client of this process that were not taken yet. Used with the store's lock held, but for `hasEvents`.
final class StoreInbox: @unchecked Sendable {
    /// Whether a look is worth the lock; set before the waker is used.
    let hasEvents = Atomic(false)
    private var events: [StoreWatchEvent] = []
    var waker: Waker?

    func put(_ event: StoreWatchEvent) {
        // Equal events that were not taken yet are one (D31).
        guard !events.contains(event) else { return }
        events.append(event)
        hasEvents.store(true, ordering: .releasing)
        waker?.wake()
    }

    /// Takes all events at once.
    func takeAll() -> [StoreWatchEvent] {
        hasEvents.store(false, ordering: .releasing)
        defer { events = [] }
        return events
    }
}
