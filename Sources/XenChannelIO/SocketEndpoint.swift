// SPDX-License-Identifier: MIT

import XenChannels

/// A channel's Unix socket: listens, and connects one client at a time to the pump; the next is served when it leaves (R16).
final class SocketEndpoint: Endpoint {
    private let pump: StreamPump
    private let reactor: Reactor
    private var acceptor: Acceptor?

    init(
        path: String,
        on reactor: Reactor,
        service: ChannelService = ChannelService(overflow: .blockForever),
        onNoRoom: @escaping (SystemError) -> Void = { _ in }
    ) throws(SystemError) {
        self.reactor = reactor
        pump = StreamPump(on: reactor, service: service)
        pump.onOutletOver = { [unowned self] in acceptNext() }
        acceptor = try Acceptor(path: path, backlog: 16, on: reactor, onNoRoom: onNoRoom) { [unowned self] in
            acceptNext()
        }
    }

    deinit {
        // The pump may have its turn at the loop's end still.
        close()
    }

    var user: any RingUser { pump }
    var tty: String? { nil }

    func close() {
        pump.detachOutlet()
        acceptor?.close()
        acceptor = nil
    }

    /// Serves the client that waits, or waits for one.
    private func acceptNext() {
        guard pump.outlet == nil, let client = acceptor?.next() else { return }
        acceptor?.pause()
        pump.attach(Outlet(on: reactor, input: client) { [unowned pump] _ in pump.run() })
    }
}
