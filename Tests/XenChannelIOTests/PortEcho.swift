// SPDX-License-Identifier: MIT

import Testing
import XenChannels
import XenHypervisor
import XenInterface
import XenRing

@testable import XenChannelIO

/// A guest that echoes, and domain 0's end of its ring.
final class PortEcho {
    let reactor: Reactor
    let host = LiveHost()
    let guest: LiveDomain
    let dom0: LiveDomain
    let service: PortService
    let listener = PortListener()
    let loopback = LoopbackEndpoint(givesBack: true)
    let port: EventChannelPort
    let peer: EventChannelPort
    let memory: PageMemory
    var answers = 0
    private var back: ConsoleRing<SharedPage>

    init() throws {
        reactor = try Reactor()
        guest = try host.createDomain()
        dom0 = host.controlDomain
        service = PortService(of: guest, on: reactor, eventBudget: 8) {}
        port = try guest.events.allocateUnbound(for: .dom0)
        peer = try dom0.events.bindInterdomain(guest.id, port: port)
        memory = host.allocatePage(of: guest.id).memory
        back = ConsoleRing(fresh: memory.page, as: .backend)
        listener.user = loopback.listener
        service.register(listener, at: port, of: guest.id)
        loopback.attach(AttachedRing(fresh: memory) { [unowned self] in answers += 1 }, limit: 100)
        reactor.settle()
    }

    deinit {
        service.cancel()
    }

    var isPending: Bool { host.withHypervisor { $0.isPending(port, of: guest.id) } }

    func send() throws {
        #expect(try back.output.write([1, 2, 3].span) == 3)
        dom0.notify(peer)
    }

    /// Does something in the loop's own thread, once, within a turn, and has the loop settle.
    func within(_ body: @escaping () throws -> Void) {
        var isDone = false
        let work = reactor.addWork {
            guard !isDone else { return false }
            isDone = true
            do { try body() } catch { Issue.record(error) }
            return true
        }
        reactor.turn(until: "it was done") { isDone }
        reactor.settle()
        work.cancel()
    }

    /// Sends within a turn; returns whether the event was pending then.
    func sendWithin() -> Bool {
        var wasPending = false
        within { [unowned self] in
            try send()
            // Any look at the hypervisor, as this one, has the next event ask its way anew.
            wasPending = isPending
        }
        return wasPending
    }

    /// Sends within turns until the next event knows its way.
    func findWay() {
        for _ in 0..<2 { within { [unowned self] in try send() } }
        #expect(answers == 2)
    }
}
