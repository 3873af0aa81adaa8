// SPDX-License-Identifier: MIT

/// A channel's Unix socket: listens, and connects one client at a time to the pump; the next is served when it leaves (R16).
final class SocketEndpoint: Endpoint {
    private let pump: StreamPump
    private let reactor: Reactor
    private let listener: UnixListener
    private var source: Reactor.Source?

    init(path: String, on reactor: Reactor) throws(SystemError) {
        self.reactor = reactor
        listener = try UnixListener(path: path)
        pump = StreamPump(on: reactor)
        pump.onOutletOver = { [unowned self] in acceptNext() }
        source = reactor.add(listener.descriptor, for: .readable) { [unowned self] _ in acceptNext() }
    }

    var user: any RingUser { pump }
    var tty: String? { nil }

    func close() {
        pump.detachOutlet()
        source?.cancel()
        source = nil
    }

    /// Serves the client that waits, or waits for one.
    private func acceptNext() {
        guard pump.outlet == nil else { return }
        guard let client = listener.accept() else {
            source?.interest = .readable
            return
        }
        // Further clients wait in the listen backlog, unseen.
        source?.interest = nil
        pump.attach(Outlet(on: reactor, input: client) { [unowned pump] _ in pump.run() })
    }
}
