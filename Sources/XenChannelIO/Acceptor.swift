// SPDX-License-Identifier: MIT

/// Says when a client waits at a Unix socket, and hands it over.
///
/// When the process or the system has no descriptor left it rests for a while: the client keeps waiting, and the loop does not spin.
final class Acceptor {
    /// Where it listens.
    let path: String
    private let reactor: Reactor
    private var listener: UnixListener?
    private var source: Reactor.Source?
    private var rest: Reactor.Timer?
    /// Called the first time that a client cannot be taken for want of descriptors.
    private let onNoRoom: (SystemError) -> Void
    private var hasTold = false

    /// How long to wait for descriptors.
    private static let restInterval = Duration.milliseconds(100)

    /// Listens at `path`; `onReady` is called when a client may wait.
    init(
        path: String,
        backlog: Int32,
        on reactor: Reactor,
        onNoRoom: @escaping (SystemError) -> Void = { _ in },
        onReady: @escaping () -> Void
    ) throws(SystemError) {
        self.path = path
        self.reactor = reactor
        self.onNoRoom = onNoRoom
        let listener = try UnixListener(path: path, backlog: backlog)
        self.listener = listener
        source = reactor.add(listener.descriptor, for: .readable) { _ in onReady() }
    }

    deinit {
        close()
    }

    /// Takes the client that waits; if there is none, the next one will be told of.
    func next() -> Descriptor? {
        switch listener?.accept() {
        case .client(let client):
            return client
        case .nobody:
            source?.interest = .readable
        case .noRoom(let error):
            source?.interest = nil
            rest?.cancel()
            rest = reactor.after(Acceptor.restInterval) { [unowned self] in source?.interest = .readable }
            if !hasTold {
                hasTold = true
                onNoRoom(error)
            }
        case nil:
            break
        }
        return nil
    }

    /// Leaves further clients in the queue, unseen, until `next()` is called.
    func pause() {
        rest?.cancel()
        source?.interest = nil
    }

    /// Stops listening and removes the socket.
    func close() {
        rest?.cancel()
        source?.cancel()
        source = nil
        listener = nil
    }
}
