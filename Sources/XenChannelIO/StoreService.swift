// SPDX-License-Identifier: MIT

import Glibc

/// A store on a Unix socket that a thread of its own serves: for a test or a tool that needs a xenstored beside it.
///
/// ```swift
/// let service = try StoreService(path: folder + "/store")
/// setenv("XENSTORED_PATH", service.path, 1)     // and run any client of xenstored
/// service.stop()
/// ```
///
/// A client that should live with other stores too meets one with `LiveHost(storeRules: .oxenstored)`.
public final class StoreService: @unchecked Sendable {
    /// Where it listens.
    public let path: String
    private let stopRequest: StopRequest
    private let thread = Lock<pthread_t?>(nil)

    /// What the thread owns.
    private final class Parts {
        let reactor: Reactor
        let socket: StoreSocket

        init(_ reactor: Reactor, _ socket: StoreSocket) {
            self.reactor = reactor
            self.socket = socket
        }
    }

    /// Listens at `path`, with mode 0600, for clients of the host's store.
    public init(path: String, of host: LiveHost = LiveHost()) throws(SystemError) {
        self.path = path
        let reactor = try Reactor()
        let stopRequest = StopRequest(to: reactor.waker)
        self.stopRequest = stopRequest
        reactor.addWork { [unowned reactor] in
            if stopRequest.isMade { reactor.stop() }
            return false
        }
        let parts = unsafe Unmanaged.passRetained(Parts(reactor, try StoreSocket(path: path, of: host, on: reactor)))
        var thread = pthread_t()
        let code = unsafe pthread_create(
            &thread,
            nil,
            { argument in
                guard let argument = unsafe argument else { return nil }
                let parts = unsafe Unmanaged<Parts>.fromOpaque(argument).takeRetainedValue()
                parts.reactor.run()
                parts.socket.close()
                return nil
            },
            parts.toOpaque()
        )
        guard code == 0 else {
            unsafe parts.release()
            throw SystemError("pthread_create", "for the store at \(path)", code: code)
        }
        self.thread.withLock { $0 = thread }
    }

    deinit {
        stop()
    }

    /// Drops all clients, removes the socket, and waits until that is done.
    public func stop() {
        stopRequest.make()
        let thread = thread.withLock { $0.take() }
        if let thread { pthread_join(thread, nil) }
    }
}
