// SPDX-License-Identifier: MIT

import XenChannels
import XenInterface

/// The events of one domain in a loop: takes the ports that are pending, and serves each when the rota says so, or at once if it waits alone.
final class PortService: Reactor.Work {
    private let domain: LiveDomain
    private let reactor: Reactor
    private let signal: Signal
    private let loneEvent: LoneEvent
    private let serveStore: () -> Void
    // Looked at and changed by single steps, none of which comes back here. By the port's number: found without hashing.
    @exclusivity(unchecked) private var table: [Reference<PortListener>?] = []
    @exclusivity(unchecked) private var rota: EventRota
    /// How many ports wait in the rota.
    @exclusivity(unchecked) private var queuedCount = 0
    /// The loop's turn in which the budgets were filled.
    @exclusivity(unchecked) private var turn: UInt64 = 0
    /// How many ports to serve before others have their turn: a peer that never stops sending stops nobody.
    private static let portsAtOnce = 64

    /// Serves the ports of `domain` until `cancel()`; calls `serveStore` when there may be watch events.
    init(of domain: LiveDomain, on reactor: Reactor, eventBudget: Int, serveStore: @escaping () -> Void) {
        self.domain = domain
        self.reactor = reactor
        self.serveStore = serveStore
        unsafe rota = EventRota(budget: eventBudget)
        signal = Signal(waking: reactor.waker)
        loneEvent = reactor.loneEvent
        unsafe loneEvent.restrict(to: rota.budget)
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
        unsafe table[index] = Reference(listener)
        listener.begin(self, at: port, of: guest)
    }

    /// A port says nothing to anybody any more.
    func unregister(_ port: EventChannelPort) {
        guard let listener = listener(at: port) else { return }
        unsafe table[Int(port.rawValue)] = nil
        loneEvent.remove(listener)
        listener.use { listener in
            unsafe rota.countPorts(of: listener.guest, adding: -1)
            listener.end()
        }
        domain.closeEventWays()
    }

    /// Keeps a device that has ended for as long as it may be running.
    func retire(_ device: AnyObject) {
        loneEvent.retire(device)
    }

    override func cancel() {
        super.cancel()
        for number in unsafe 0..<UInt32(table.count) { unregister(EventChannelPort(number)) }
        domain.silence(signal)
        unsafe signal.ports = nil
        unsafe loneEvent.queuedCount -= queuedCount
        unsafe queuedCount = 0
    }

    /// The way for events that are sent to a port in this thread; nil if it is nobody's here.
    func way(to port: EventChannelPort, generation: UInt64) -> EventWay? {
        listener(at: port).map {
            EventWay(generation: generation, loneEvent: Reference(loneEvent), listener: $0)
        }
    }

    private func listener(at port: EventChannelPort) -> Reference<PortListener>? {
        let index = Int(port.rawValue)
        return unsafe index < table.count ? table[index] : nil
    }

    /// A port waits for its turn.
    func queue(_ port: EventChannelPort, of guest: DomainID) {
        guard unsafe rota.add(port, of: guest) else { return }
        unsafe queuedCount += 1
        unsafe loneEvent.queuedCount += 1
    }

    override func look() -> Bool {
        let isSignalled = signal.take()
        guard unsafe isSignalled || !loneEvent.isEmpty || queuedCount > 0 else { return false }
        if isSignalled {
            if domain.isShared { takeOwnPending() } else { domain.takePending { note($0) } }
        }
        // The store raises the signal as well.
        let isStoreBusy = isSignalled && domain.store.mayHaveEvent
        if isStoreBusy { serveStore() }
        let hasServed = serve()
        if isStoreBusy, domain.store.mayHaveEvent { signal.raise()?.interrupt() }
        // What is left has its turn when others had theirs.
        if unsafe queuedCount > 0 { reactor.waker.wakeWithin() }
        return isStoreBusy || hasServed
    }

    /// Takes those of the own ports that are pending: there are others' in the domain.
    private func takeOwnPending() {
        for number in unsafe 0..<UInt32(table.count) {
            let port = EventChannelPort(number)
            if listener(at: port) != nil, domain.takePending(port) { note(port) }
        }
        domain.store.portFired()
    }

    private func note(_ port: EventChannelPort) {
        if let listener = listener(at: port) {
            loneEvent.add(listener)
        } else {
            domain.store.portFired()
        }
    }

    /// Serves the ports whose turn it is; returns whether there was any.
    private func serve() -> Bool {
        if unsafe turn != reactor.turnCount {
            unsafe turn = reactor.turnCount
            unsafe rota.refill()
        }
        var count = 0
        loneEvent.serving {
            while count < PortService.portsAtOnce {
                let served = loneEvent.serve(atMost: PortService.portsAtOnce - count)
                count += served
                if served == 0 {
                    guard serveNext() else { break }
                    count += 1
                }
            }
        }
        return count > 0
    }

    /// Serves the port whose turn it is; false if there is none.
    private func serveNext() -> Bool {
        guard let port = unsafe rota.next() else { return false }
        unsafe queuedCount -= 1
        unsafe loneEvent.queuedCount -= 1
        listener(at: port)?.use { unsafe $0.user?.ringChanged() }
        return true
    }
}
