// SPDX-License-Identifier: MIT

import Testing
import XenChannels
import XenHypervisor
import XenInterface
import XenRing

@testable import XenChannelIO

@Suite(.timeLimit(.minutes(1)))
struct PortServiceTests {
    /// A guest that echoes, and domain 0's end of its ring.
    private final class Echo {
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

        /// Sends in the loop's own thread, within a turn; returns whether the event was pending then.
        func sendWithin() -> Bool {
            var wasPending: Bool?
            let work = reactor.addWork { [unowned self] in
                guard wasPending == nil else { return false }
                do { try send() } catch { Issue.record(error) }
                wasPending = isPending
                return true
            }
            reactor.turn(until: "it was sent") { wasPending != nil }
            reactor.settle()
            work.cancel()
            return wasPending ?? false
        }
    }

    @Test func `an event from elsewhere becomes pending, and is served`() throws {
        let echo = try Echo()
        try echo.send()
        #expect(echo.isPending)
        echo.reactor.settle()
        #expect(!echo.isPending)
        #expect(echo.answers == 1)
    }

    @Test func `an event of the loop's own thread is taken without becoming pending, once, and is served`() throws {
        let echo = try Echo()
        var wasPending: [Bool] = []
        let work = echo.reactor.addWork {
            guard wasPending.isEmpty else { return false }
            for _ in 0..<2 {
                do { try echo.send() } catch { Issue.record(error) }
                wasPending.append(echo.isPending)
            }
            return true
        }
        echo.reactor.turn(until: "it was served") { echo.answers > 0 }
        echo.reactor.settle()
        work.cancel()
        #expect(wasPending == [false, false])
        #expect(echo.answers == 1)
    }

    @Test(arguments: [false, true])
    func `a masked port keeps its event until it is unmasked, whoever sent it, also if some went past before`(
        knowsTheWay: Bool
    ) throws {
        let echo = try Echo()
        if knowsTheWay { #expect(!echo.sendWithin()) }
        let before = echo.answers
        try echo.host.withHypervisor { try $0.mask(echo.port, of: echo.guest.id) }
        #expect(echo.sendWithin())
        #expect(echo.isPending)
        #expect(echo.answers == before)
        if let upcall = try echo.host.withHypervisor({ try $0.unmask(echo.port, of: echo.guest.id) }) {
            echo.host.deliver(upcall)
        }
        echo.reactor.settle()
        #expect(echo.answers == before + 1)
    }

    /// How a port stops being served.
    enum End: CaseIterable {
        case unregistered
        case cancelled
        case elsewhere
    }

    @Test(arguments: End.allCases, [false, true])
    func `a port that nobody serves any more keeps its event, also if some went past before`(
        end: End,
        knowsTheWay: Bool
    ) throws {
        let echo = try Echo()
        if knowsTheWay { #expect(!echo.sendWithin()) }
        let before = echo.answers
        switch end {
        case .unregistered: echo.service.unregister(echo.port)
        case .cancelled: echo.service.cancel()
        case .elsewhere:
            // Another loop's from now on.
            echo.service.cancel()
            let other = PortService(of: echo.guest, on: try Reactor(), eventBudget: 1) {}
            other.register(echo.listener, at: echo.port, of: echo.guest.id)
            defer { other.cancel() }
            #expect(echo.sendWithin())
        }
        #expect(echo.sendWithin())
        #expect(echo.answers == before)
    }

    @Test func `an event for a port that is closed and made anew goes to the new one's listener alone`() throws {
        let echo = try Echo()
        #expect(!echo.sendWithin())
        let before = echo.answers
        echo.service.unregister(echo.port)
        try echo.guest.events.close(echo.port)
        // Its number is given out again, for somebody else.
        let port = try echo.guest.events.allocateUnbound(for: .dom0)
        #expect(port == echo.port)
        echo.service.register(echo.listener, at: port, of: echo.guest.id)
        #expect(!echo.sendWithin())
        #expect(echo.answers == before)
    }
}
