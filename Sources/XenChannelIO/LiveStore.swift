// SPDX-License-Identifier: MIT

import XenInterface
import XenStore

/// The store of a live host with its clients. Used with the host's lock held.
struct LiveStore {
    var server: StoreServer
    private var clients = LiveClients()

    init(_ rules: StoreRules) {
        server = StoreServer(rules: rules)
    }

    // MARK: Clients of this process

    mutating func connect(as domain: DomainID) -> (id: StoreConnectionID, inbox: StoreInbox) {
        let id = server.connect(as: domain)
        let inbox = StoreInbox()
        clients.set(.local(inbox), id)
        return (id, inbox)
    }

    mutating func disconnect(_ id: StoreConnectionID) {
        server.disconnect(id)
        clients.set(nil, id)
    }

    mutating func perform(
        _ request: StoreRequest,
        in transaction: StoreTransactionID,
        on id: StoreConnectionID
    ) -> StoreReply {
        let reply = server.perform(request, in: transaction, on: id, into: &clients)
        settle()
        return reply
    }

    // MARK: Clients on sockets

    /// Adds a client on a socket; `waker` wakes the loop that serves all of them.
    mutating func connectSocket(waker: Waker) -> SocketOutbox {
        let outbox = SocketOutbox(server.connect(as: .dom0))
        clients.set(.socket(outbox), outbox.id)
        clients.socketWaker = waker
        return outbox
    }

    /// Answers a message of a client on a socket, whose loop sends it what is in its queue afterwards.
    mutating func handle(_ message: StoreMessage, from client: SocketOutbox) {
        client.isListed = true
        server.handle(message, from: client.id, into: &clients)
        client.isListed = false
        settle()
    }

    /// Takes the names of the clients for which something was queued since the last call.
    mutating func takeUnsent() -> [StoreConnectionID] {
        clients.takeUnsent()
    }

    /// Bytes that wait for all clients on sockets.
    var unsentByteCount: Int { clients.unsentByteCount }

    // MARK: Guests at their rings

    /// Where rings are found; to be set before a domain is introduced.
    mutating func setHost(_ host: any StoreRingHost) {
        clients.host = host
    }

    /// Serves the guest whose event channel ends in a port of domain 0.
    mutating func serveRing(at port: EventChannelPort) {
        if let ring = clients.ring(at: port) { serve(ring) }
        settle()
    }

    private mutating func serve(_ ring: StoreRing) {
        var isOpen = true
        while isOpen {
            guard !server.isStalled(ring.id) else { return clients.stall(ring) }
            switch ring.conversation.receive() {
            case .message(let message): server.handle(message, from: ring.id, into: &clients)
            case .broken: server.ignore(ring.id)
            case .idle: isOpen = false
            }
            ring.conversation.flush()
        }
        clients.touch(ring)
    }

    /// Says that the host has a domain no more.
    mutating func domainDestroyed(_ domain: DomainID) {
        server.domainDestroyed(domain, into: &clients)
        settle()
    }

    /// Does what an answer made necessary besides: events into rings, and clients that do not read.
    private mutating func settle() {
        // Whose memory was used up may have room now: others removed what is its own.
        for ring in clients.takeStalled() { serve(ring) }
        for ring in clients.flushRings() {
            if case .broken = ring.conversation.receive() { server.ignore(ring.id) }
        }
        // It does not read what it asked for: it harms nobody but itself.
        for id in clients.takeOverflowed() { disconnect(id) }
    }
}

/// Who takes what the store puts out: each client in its way.
struct LiveClients: StoreOutputSink {
    enum Client {
        case local(StoreInbox)
        case socket(SocketOutbox)
        case ring(StoreRing)
    }

    /// By the connection's slot.
    private var entries: [(id: StoreConnectionID, client: Client)?] = []
    private var rings: [StoreRing] = []
    private var touched: [StoreRing] = []
    private var stalled: [StoreRing] = []
    private var unsent: [SocketOutbox] = []
    private var overflowed: [StoreConnectionID] = []
    /// Wakes the loop that serves the sockets.
    var socketWaker: Waker?
    unowned var host: (any StoreRingHost)?

    mutating func set(_ client: Client?, _ id: StoreConnectionID) {
        let slot = Int(id.slot)
        while entries.count <= slot { entries.append(nil) }
        // A slot may have been given to another connection meanwhile.
        if let client { entries[slot] = (id, client) } else if entries[slot]?.id == id { entries[slot] = nil }
    }

    mutating func append(_ output: StoreOutput) {
        switch output {
        case .message(let message, let id):
            switch client(id) {
            case .socket(let outbox): note(outbox.queue.append(message), outbox)
            case .ring(let ring):
                ring.conversation.send(message)
                touch(ring)
            case .local, nil: break
            }
        case .disconnected(let id): set(nil, id)
        case .introduced(let introduction): introduce(introduction)
        case .released(let domain): dropRing(of: domain)
        }
    }

    mutating func append(contentsOf events: Span<StoreEvent>, to id: StoreConnectionID) {
        switch client(id) {
        case .local(let inbox): inbox.put(contentsOf: events)
        case .socket(let outbox): note(outbox.queue.append(contentsOf: events), outbox)
        case .ring(let ring):
            ring.conversation.send(contentsOf: events)
            touch(ring)
        case nil: break
        }
    }

    mutating func takeUnsent() -> [StoreConnectionID] {
        guard !unsent.isEmpty else { return [] }
        defer { unsent.removeAll(keepingCapacity: true) }
        return unsent.map { outbox in
            outbox.isListed = false
            return outbox.id
        }
    }

    mutating func takeOverflowed() -> [StoreConnectionID] {
        guard !overflowed.isEmpty else { return [] }
        defer { overflowed.removeAll() }
        return overflowed
    }

    var unsentByteCount: Int {
        entries.reduce(0) { count, entry in
            if case .socket(let outbox) = entry?.client { count + outbox.queue.byteCount } else { count }
        }
    }

    private func client(_ id: StoreConnectionID) -> Client? {
        let slot = Int(id.slot)
        guard slot < entries.count, let entry = entries[slot], entry.id == id else { return nil }
        return entry.client
    }

    private mutating func note(_ appended: StoreOutputQueue.Appended, _ outbox: SocketOutbox) {
        switch appended {
        case .merged: return
        case .overflow:
            outbox.isGone = true
            overflowed.append(outbox.id)
        case .queued: break
        }
        guard !outbox.isListed else { return }
        outbox.isListed = true
        unsent.append(outbox)
        socketWaker?.wake()
    }

    // MARK: Rings

    func ring(at port: EventChannelPort) -> StoreRing? {
        rings.first { $0.port == port }
    }

    /// Notes that a ring may have something to send, or to say.
    mutating func touch(_ ring: StoreRing) {
        guard !ring.isTouched else { return }
        ring.isTouched = true
        touched.append(ring)
    }

    /// Leaves a guest's requests where they are for now.
    mutating func stall(_ ring: StoreRing) {
        if !stalled.contains(where: { $0 === ring }) { stalled.append(ring) }
        touch(ring)
    }

    mutating func takeStalled() -> [StoreRing] {
        guard !stalled.isEmpty else { return [] }
        defer { stalled.removeAll() }
        return stalled
    }

    /// Moves what waits into the rings, and returns those that were found broken.
    mutating func flushRings() -> [StoreRing] {
        guard !touched.isEmpty else { return [] }
        var broken: [StoreRing] = []
        for ring in touched {
            ring.isTouched = false
            ring.conversation.flush()
            if ring.conversation.error != nil { broken.append(ring) }
            if ring.conversation.takeNotification() { host?.notify(ring.port) }
        }
        touched.removeAll(keepingCapacity: true)
        return broken
    }

    /// Begins to serve a guest's page; where there is none, nobody can be served.
    private mutating func introduce(_ introduction: StoreIntroduction) {
        dropRing(of: introduction.domain)
        guard let ring = host?.openRing(introduction) else { return }
        rings.append(ring)
        set(.ring(ring), ring.id)
        touch(ring)
    }

    private mutating func dropRing(of domain: DomainID) {
        guard let index = rings.firstIndex(where: { $0.domain == domain }) else { return }
        let ring = rings.remove(at: index)
        stalled.removeAll { $0 === ring }
        touched.removeAll { $0 === ring }
        set(nil, ring.id)
        host?.closeRing(ring)
    }
}

/// What waits for a client on a socket. Used with the store's lock held.
final class SocketOutbox: @unchecked Sendable {
    let id: StoreConnectionID
    var queue = StoreOutputQueue()
    /// Whether its loop knows that something is in the queue.
    var isListed = false
    /// More waits for it than may: it is dropped.
    var isGone = false

    init(_ id: StoreConnectionID) {
        self.id = id
    }

    /// Lets `body` send what waits, and returns how many bytes are left; nil if the client is to be dropped.
    func send(_ body: (Span<UInt8>) -> Int) -> Int? {
        guard !isGone else { return nil }
        if !queue.isEmpty { queue.advance(by: queue.withUnsentBytes(body)) }
        return queue.byteCount
    }
}
