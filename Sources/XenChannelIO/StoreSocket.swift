// SPDX-License-Identifier: MIT

import Glibc
import XenStore

/// Serves the store of a live host on a Unix socket, to the stock clients and any other.
///
/// Clients speak for domain 0, as on a real host. None can make another wait: each has a queue with a bound, what a client asks is read only while
/// its answers are taken, and one that lets events pile up beyond the bound is cut off. However many there are, some of the process's descriptors
/// are left for others: further clients wait until one leaves.
///
/// Belongs to the thread that runs its reactor.
public final class StoreSocket {
    /// Where it listens.
    public let path: String
    private let host: LiveHost
    private let reactor: Reactor
    private var acceptor: Acceptor?
    private var clients: [StoreConnectionID: StoreSocketClient] = [:]
    /// Called the first time that clients must wait for want of descriptors.
    public var onReport: (SystemError) -> Void = { _ in }
    /// A client whose descriptor has this number or a higher one is the last for now: the lowest that is free is given out.
    private let ceiling: Int32
    private var isFull = false
    private var hasTold = false

    /// Listens at `path`, with mode 0600.
    public convenience init(path: String, of host: LiveHost, on reactor: Reactor) throws(SystemError) {
        try self.init(path: path, of: host, on: reactor, ceiling: StoreSocket.usualCeiling)
    }

    init(path: String, of host: LiveHost, on reactor: Reactor, ceiling: Int32) throws(SystemError) {
        self.path = path
        self.host = host
        self.reactor = reactor
        self.ceiling = ceiling
        acceptor = try Acceptor(path: path, backlog: 128, on: reactor, onNoRoom: { [weak self] in self?.tell($0) }) {
            [weak self] in self?.accept()
        }
        reactor.addWork { [weak self] in self?.sendUnsent() ?? false }
    }

    deinit {
        close()
    }

    /// Drops all clients and removes the socket.
    public func close() {
        acceptor?.close()
        acceptor = nil
        clients.values.forEach { $0.close() }
        clients.removeAll()
    }

    private func accept() {
        while !isFull, let descriptor = acceptor?.next() {
            let outbox = host.store.withLock { $0.connectSocket(waker: reactor.waker) }
            clients[outbox.id] = StoreSocketClient(outbox, descriptor, host, reactor) { [weak self] in
                self?.forget(outbox.id)
            }
            isFull = descriptor.raw >= ceiling
        }
        guard isFull else { return }
        acceptor?.pause()
        tell(SystemError("accept", path, detail: "few descriptors are left; further clients wait"))
    }

    private func forget(_ client: StoreConnectionID) {
        clients[client] = nil
        guard isFull else { return }
        isFull = false
        accept()
    }

    private func tell(_ error: SystemError) {
        if !hasTold { onReport(error) }
        hasTold = true
    }

    /// Leaves 64 descriptors, or half of them where there are not twice as many.
    private static var usualCeiling: Int32 {
        var limit = rlimit()
        guard unsafe getrlimit(__rlimit_resource_t(7), &limit) == 0 else { return .max }  // RLIMIT_NOFILE
        let count = Int32(clamping: limit.rlim_cur)
        return count - min(64, count / 2)
    }

    /// Sends what other clients' requests, or this process, have made for clients on sockets.
    private func sendUnsent() -> Bool {
        let unsent = host.store.withLock { $0.takeUnsent() }
        for id in unsent { clients[id]?.turn() }
        return !unsent.isEmpty
    }
}

/// One client on the store's socket.
final class StoreSocketClient {
    private let outbox: SocketOutbox
    private let host: LiveHost
    private let onEnd: () -> Void
    private var decoder = StoreMessageDecoder()
    private var source: Reactor.Source?
    /// How many bytes waited for it when it was last sent to.
    private var waiting = 0

    /// How many bytes of answers may wait before no more requests are read.
    private static let answersAtOnce = 65_536
    private static let readSize = 16_384

    init(
        _ outbox: SocketOutbox,
        _ descriptor: Descriptor,
        _ host: LiveHost,
        _ reactor: Reactor,
        onEnd: @escaping () -> Void
    ) {
        self.outbox = outbox
        self.host = host
        self.onEnd = onEnd
        source = reactor.add(descriptor, for: .readable) { [weak self] readiness in
            if readiness.contains(.writable) { self?.turn() }
            if !readiness.isDisjoint(with: [.readable, .hungUp, .failed]) { self?.receive() }
        }
    }

    func close() {
        source?.cancel()
        source = nil
        host.store.withLock { [id = outbox.id] in $0.disconnect(id) }
    }

    /// Answers what was asked and sends what waits, as far as the client takes it; then says what to wait for.
    func turn() {
        guard let source else { return }
        var hasMore = true
        while hasMore {
            guard let isWhole = answer() else {
                // What it asked before it went wrong is answered.
                _ = send()
                return end()
            }
            guard let left = send() else { return end() }
            waiting = left
            // Requests that are here already wait until their turn as well, when answers pile up.
            hasMore = !isWhole && left < StoreSocketClient.answersAtOnce
            var interest: Reactor.Readiness = left > 0 ? .writable : []
            if left < StoreSocketClient.answersAtOnce { interest.insert(.readable) }
            source.interest = interest
        }
    }

    /// Answers messages until none is whole, or enough answers wait; returns whether none is whole, nil at a protocol error.
    private func answer() -> Bool? {
        var waiting = waiting
        while waiting < StoreSocketClient.answersAtOnce {
            switch decoder.next() {
            case .message(let message):
                waiting = host.store.withLock { store in
                    store.handle(message, from: outbox)
                    return outbox.queue.byteCount
                }
            case .needMore:
                return true
            case .protocolError:
                // As xenstored does: nothing that follows can be made sense of (D5).
                return nil
            }
        }
        return false
    }

    /// Writes what waits; returns how much is left, nil if the client is gone.
    private func send() -> Int? {
        guard let descriptor = source?.descriptor else { return nil }
        var isGone = false
        let left = host.store.withLock { _ in
            outbox.send { bytes in
                switch descriptor.write(bytes) {
                case .moved(let count): return count
                case .wait: return 0
                case .end, .gone:
                    isGone = true
                    return 0
                }
            }
        }
        return isGone ? nil : left
    }

    private func receive() {
        guard let source else { return }
        let transfer = unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: StoreSocketClient.readSize) {
            buffer in
            var output = unsafe OutputSpan(buffer: buffer, initializedCount: 0)
            let transfer = source.descriptor.read(appendingTo: &output)
            if case .moved = transfer { decoder.append(output.span) }
            return transfer
        }
        switch transfer {
        case .wait: return
        case .end, .gone: return end()
        case .moved: turn()
        }
    }

    private func end() {
        close()
        onEnd()
    }
}
