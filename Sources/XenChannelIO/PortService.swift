// SPDX-License-Identifier: MIT

import XenChannels
import XenInterface

/// What is told that its port fired.
final class PortListener {
    /// Who is to look at the ring then (E3).
    @exclusivity(unchecked) var user: RingListener?
}

/// The events of one domain in a loop: takes the ports that are pending, and serves each when the rota says so.
///
/// All that happens between two pieces of a stream happens here, so that nothing is allocated or counted, and one lock is taken.
final class PortService: Reactor.Work {
    private let domain: LiveDomain
    private let reactor: Reactor
    private let signal: Signal
    private let serveStore: () -> Void
    // Looked at and changed by single steps, none of which comes back here.
    @exclusivity(unchecked) private var table: [Entry?] = []
    @exclusivity(unchecked) private var rota: EventRota
    /// The loop's turn in which the budgets were filled.
    @exclusivity(unchecked) private var turn: UInt64 = 0
    /// Ports are being served, which does not keep their devices: those that end meanwhile are kept until it is done.
    @exclusivity(unchecked) private var isServing = false
    @exclusivity(unchecked) private var retired: [AnyObject] = []

    /// By the port's number: found without hashing.
    private struct Entry {
        let listener: Reference<PortListener>
        /// The guest at either end: whose turn it is counts by it.
        let guest: DomainID
    }

    /// How many ports to serve before others have their turn: a peer that never stops sending stops nobody.
    private static let portsAtOnce = 64

    /// Serves the ports of `domain` until `cancel()`; calls `serveStore` when there may be watch events.
    init(of domain: LiveDomain, on reactor: Reactor, eventBudget: Int, serveStore: @escaping () -> Void) {
        self.domain = domain
        self.reactor = reactor
        self.serveStore = serveStore
        unsafe rota = EventRota(budget: eventBudget)
        signal = Signal(waking: reactor.waker)
        super.init()
        unsafe signal.ports = Reference(self)
        domain.raise(signal)
        reactor.add(self)
    }

    /// Has a listener told of a port's events. Whoever keeps the listener unregisters the port before it goes, or calls `retire(_:)`.
    func register(_ listener: PortListener, at port: EventChannelPort, of guest: DomainID) {
        unregister(port)
        let index = Int(port.rawValue)
        while unsafe table.count <= index { unsafe table.append(nil) }
        unsafe rota.countPorts(of: guest, adding: 1)
        unsafe table[index] = Entry(listener: Reference(listener), guest: guest)
    }

    /// A port says nothing to anybody any more.
    func unregister(_ port: EventChannelPort) {
        let index = Int(port.rawValue)
        guard unsafe index < table.count, let entry = unsafe table[index] else { return }
        unsafe table[index] = nil
        unsafe rota.countPorts(of: entry.guest, adding: -1)
    }

    /// Keeps a device that has ended for as long as it may be running.
    func retire(_ device: AnyObject) {
        if unsafe isServing { unsafe retired.append(device) }
    }

    override func cancel() {
        super.cancel()
        domain.silence(signal)
        unsafe signal.ports = nil
        unsafe table = []
    }

    /// Takes the event of a port that is sent in this thread, so that it never becomes pending; false if it is nobody's here.
    ///
    /// The host is locked meanwhile: the port is served later.
    func take(_ port: EventChannelPort) -> Bool {
        let index = Int(port.rawValue)
        guard unsafe index < table.count, let entry = unsafe table[index] else { return false }
        _ = unsafe rota.add(port, of: entry.guest)
        reactor.waker.wakeWithin()
        return true
    }

    override func look() -> Bool {
        let isSignalled = signal.take()
        guard unsafe isSignalled || !rota.isEmpty else { return false }
        if isSignalled {
            if domain.isShared { takeOwnPending() } else { domain.takePending { note($0) } }
        }
        // The store raises the signal as well.
        let isStoreBusy = isSignalled && domain.store.mayHaveEvent
        if isStoreBusy { serveStore() }
        let hasServed = serve()
        if isStoreBusy, domain.store.mayHaveEvent { signal.raise()?.interrupt() }
        // What is left has its turn when others had theirs.
        if unsafe !rota.isEmpty { reactor.waker.wakeWithin() }
        return isStoreBusy || hasServed
    }

    /// Takes those of the own ports that are pending: there are others' in the domain.
    private func takeOwnPending() {
        for number in unsafe 0..<UInt32(table.count) {
            let port = EventChannelPort(number)
            if unsafe table[Int(number)] != nil, domain.takePending(port) { note(port) }
        }
        domain.store.portFired()
    }

    private func note(_ port: EventChannelPort) {
        if !take(port) { domain.store.portFired() }
    }

    /// Serves the ports whose turn it is; returns whether there was any.
    private func serve() -> Bool {
        if unsafe turn != reactor.turnCount {
            unsafe turn = reactor.turnCount
            unsafe rota.refill()
        }
        unsafe isServing = true
        var count = 0
        while count < PortService.portsAtOnce, let port = unsafe rota.next() {
            count += 1
            let index = Int(port.rawValue)
            guard unsafe index < table.count, let entry = unsafe table[index] else { continue }
            entry.listener.use { unsafe $0.user?.ringChanged() }
        }
        unsafe isServing = false
        if unsafe !retired.isEmpty { unsafe retired.removeAll() }
        return count > 0
    }
}
