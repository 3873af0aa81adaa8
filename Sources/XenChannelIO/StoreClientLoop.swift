// SPDX-License-Identifier: MIT

import Glibc
import XenInterface
import XenStore

/// The thread behind a `StoreClient`: sends what tasks ask, and gives each reply and event to whom it belongs.
final class StoreClientLoop: Sendable {
    private let state = Lock(ClientState())
    private let waker: Waker
    private let thread: StoreClientThread

    init(path: String) throws(SystemError) {
        let descriptor = try UnixListener.connect(to: path, waits: true)
        descriptor.configure()
        waker = try Waker()
        thread = StoreClientThread(descriptor, waker)
        try thread.start(self)
    }

    func stop() {
        state.withLock { $0.mustStop = true }
        waker.wake()
    }

    /// Sends a request and waits for the reply; nil if the connection is lost.
    func exchange(_ request: StoreRequest, in transaction: StoreTransactionID) async -> StoreMessage? {
        await withCheckedContinuation { continuation in
            let isSent = state.withLock { state in
                guard !state.isOver else { return false }
                let number = state.number()
                state.waiting[number] = continuation
                request.message(request: number, in: transaction).encode(into: &state.outbox)
                return true
            }
            if isSent { waker.wake() } else { continuation.resume(returning: nil) }
        }
    }

    /// Sends a request whose reply nobody waits for.
    func send(_ request: StoreRequest) {
        state.withLock { state in
            guard !state.isOver else { return }
            request.message(request: state.number()).encode(into: &state.outbox)
        }
        waker.wake()
    }

    func makeWatch() -> StoreWatchQueue {
        state.withLock { state in
            let queue = StoreWatchQueue(token: "w\(state.nextToken)")
            state.nextToken += 1
            state.watches[queue.token] = queue
            return queue
        }
    }

    func drop(_ token: String) {
        state.withLock { $0.watches.removeValue(forKey: token) }?.end()
    }

    // MARK: For the thread

    var mustStop: Bool { state.withLock { $0.mustStop } }

    func takeOutbox() -> [UInt8] {
        state.withLock { state in
            defer { state.outbox = [] }
            return state.outbox
        }
    }

    func deliver(_ message: StoreMessage) {
        if let event = StoreWatchEvent(message) {
            state.withLock { $0.watches[event.token] }?.put(event)
        } else {
            state.withLock { $0.waiting.removeValue(forKey: message.request) }?.resume(returning: message)
        }
    }

    /// Nothing more comes: whoever waits is told.
    func end() {
        let (waiting, watches) = state.withLock { state in
            state.isOver = true
            defer {
                state.waiting = [:]
                state.watches = [:]
            }
            return (Array(state.waiting.values), Array(state.watches.values))
        }
        waiting.forEach { $0.resume(returning: nil) }
        watches.forEach { $0.end() }
    }
}

/// What tasks and the thread share.
private struct ClientState {
    var outbox: [UInt8] = []
    var nextRequest: UInt32 = 1
    var nextToken: UInt64 = 1
    var waiting: [UInt32: CheckedContinuation<StoreMessage?, Never>] = [:]
    var watches: [String: StoreWatchQueue] = [:]
    var isOver = false
    var mustStop = false

    mutating func number() -> UInt32 {
        defer { nextRequest &+= 1 }
        return nextRequest
    }
}

/// The thread itself, and what belongs to it alone.
final class StoreClientThread: @unchecked Sendable {
    private let descriptor: Descriptor
    private let waker: Waker
    private var decoder = StoreMessageDecoder()
    private var unsent: [UInt8] = []
    private weak var loop: StoreClientLoop?

    init(_ descriptor: Descriptor, _ waker: Waker) {
        self.descriptor = descriptor
        self.waker = waker
    }

    func start(_ loop: StoreClientLoop) throws(SystemError) {
        self.loop = loop
        let box = unsafe Unmanaged.passRetained(self)
        var thread = pthread_t()
        let code = unsafe pthread_create(
            &thread,
            nil,
            { argument in
                guard let argument = unsafe argument else { return nil }
                unsafe Unmanaged<StoreClientThread>.fromOpaque(argument).takeRetainedValue().run()
                return nil
            },
            box.toOpaque()
        )
        guard code == 0 else {
            unsafe box.release()
            throw SystemError("pthread_create", "for a store's client", code: code)
        }
        pthread_detach(thread)
    }

    private func run() {
        var signals = sigset_t()
        unsafe sigfillset(&signals)
        unsafe pthread_sigmask(SIG_BLOCK, &signals, nil)
        while let loop, !loop.mustStop, turn(loop) {}
        loop?.end()
    }

    /// Sends, sleeps, receives; false when the connection is over.
    private func turn(_ loop: StoreClientLoop) -> Bool {
        unsent += loop.takeOutbox()
        guard send() else { return false }
        let sleeps = waker.prepareToSleep()
        let interest = Int16(POLLIN) | (unsent.isEmpty ? 0 : Int16(POLLOUT))
        var polled = [
            pollfd(fd: descriptor.raw, events: interest, revents: 0),
            pollfd(fd: waker.readEnd, events: Int16(POLLIN), revents: 0),
        ]
        _ = unsafe poll(&polled, 2, sleeps ? -1 : 0)
        if sleeps { waker.rise() }
        if polled[1].revents != 0 { waker.drain() }
        return polled[0].revents & Int16(POLLIN | POLLHUP | POLLERR) == 0 || receive(loop)
    }

    private func send() -> Bool {
        while !unsent.isEmpty {
            switch descriptor.write(unsent.span) {
            case .moved(let count): unsent.removeFirst(count)
            case .wait: return true
            case .end, .gone: return false
            }
        }
        return true
    }

    private func receive(_ loop: StoreClientLoop) -> Bool {
        let transfer = unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 16_384) { buffer in
            var output = unsafe OutputSpan(buffer: buffer, initializedCount: 0)
            let transfer = descriptor.read(appendingTo: &output)
            if case .moved = transfer { decoder.append(output.span) }
            return transfer
        }
        switch transfer {
        case .wait: return true
        case .end, .gone: return false
        case .moved: break
        }
        while true {
            switch decoder.next() {
            case .message(let message): loop.deliver(message)
            case .needMore: return true
            case .protocolError: return false
            }
        }
    }
}
