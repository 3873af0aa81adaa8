// SPDX-License-Identifier: MIT

import XenChannels

/// A channel's pseudo-terminal: its reader comes and goes, and while there is none nothing runs.
final class TerminalEndpoint: Endpoint {
    private let pump: StreamPump
    private let reactor: Reactor
    private let terminal: PseudoTerminal
    private let watcher: OpenWatcher
    private var watch: Int32?

    init(
        on reactor: Reactor,
        watcher: OpenWatcher,
        service: ChannelService = ChannelService(overflow: .blockForever)
    ) throws(SystemError) {
        self.reactor = reactor
        self.watcher = watcher
        terminal = try PseudoTerminal()
        pump = StreamPump(on: reactor, service: service)
        pump.onOutletOver = { [unowned self] in readerLeft() }
        watch = try watcher.watch(terminal.path) { [unowned self] in readerCame() }
    }

    deinit {
        close()
    }

    var user: any RingUser { pump }
    var tty: String? { terminal.path }

    func close() {
        pump.detachOutlet()
        if let watch {
            watcher.unwatch(watch)
        }
        watch = nil
    }

    private func readerCame() {
        if let earlier = pump.outlet {
            // A second reader beside the first, or the next one after a reader whose last bytes still wait for room in the ring: they stay
            // in the terminal, in order, and the outlet that hung up goes.
            guard earlier.isHungUp || earlier.isEnded else { return }
            pump.detachOutlet()
        }
        terminal.makeRaw()
        pump.attach(Outlet(on: reactor, input: terminal.master) { [unowned pump] _ in pump.run() })
    }

    /// The last reader may have left the terminal in any mode; the next one finds it raw from its first byte.
    private func readerLeft() {
        terminal.makeRaw()
    }
}
