// SPDX-License-Identifier: MIT

import Glibc
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

    @Test func `a masked port keeps its event until it is unmasked, whoever sent it`() throws {
        let echo = try Echo()
        try echo.host.withHypervisor { try $0.mask(echo.port, of: echo.guest.id) }
        var hasSent = false
        let work = echo.reactor.addWork {
            guard !hasSent else { return false }
            hasSent = true
            do { try echo.send() } catch { Issue.record(error) }
            return true
        }
        echo.reactor.settle()
        work.cancel()
        #expect(echo.isPending)
        #expect(echo.answers == 0)
        if let upcall = try echo.host.withHypervisor({ try $0.unmask(echo.port, of: echo.guest.id) }) {
            echo.host.deliver(upcall)
        }
        echo.reactor.settle()
        #expect(echo.answers == 1)
    }

    @Test func `a port that nobody serves any more keeps its event`() throws {
        let echo = try Echo()
        echo.service.unregister(echo.port)
        var isPending: Bool?
        let work = echo.reactor.addWork {
            guard isPending == nil else { return false }
            do { try echo.send() } catch { Issue.record(error) }
            isPending = echo.isPending
            return true
        }
        echo.reactor.settle()
        work.cancel()
        #expect(isPending == true)
        #expect(echo.answers == 0)
    }

    @Test func `the event of a port that nobody registered here is left to others`() throws {
        let echo = try Echo()
        let taken = [echo.port, EventChannelPort(2), EventChannelPort(70_000)].map { echo.service.take($0) }
        #expect(taken == [true, false, false])
        echo.service.unregister(echo.port)
        #expect(!echo.service.take(echo.port))
        echo.reactor.settle()
        #expect(echo.answers == 0)
    }

    @Test func `a page that is mapped outlives its domain (F6)`() throws {
        let host = LiveHost()
        let dom0 = host.controlDomain
        let guest = try host.createDomain()
        let page = try guest.grantPage(to: .dom0)
        let mapping = try dom0.grants.map(page.reference, of: guest.id, readOnly: false)
        try host.destroyDomain(guest.id)
        #expect(dom0.memory(of: mapping) != nil)
        try dom0.grants.unmap(mapping)
        #expect(dom0.memory(of: mapping) == nil)
    }

    @Test func `each loop that sleeps at a domain is interrupted`() throws {
        let host = LiveHost()
        let domain = host.controlDomain
        let wakers = try [Waker(), Waker()]
        wakers.forEach { domain.wake($0) }
        for waker in wakers { while !waker.prepareToSleep() {} }
        let near = try domain.events.allocateUnbound(for: domain.id)
        _ = try domain.events.bindInterdomain(domain.id, port: near)
        for waker in wakers {
            var polled = pollfd(fd: waker.readEnd, events: Int16(POLLIN), revents: 0)
            let readyCount = unsafe poll(&polled, 1, 0)
            #expect(readyCount == 1)
        }
    }

    @Test func `events that are left over are served without another`() throws {
        let reactor = try Reactor()
        let host = LiveHost()
        let domain = host.controlDomain
        let writer = LiveStoreConnection(as: .dom0, to: host)
        var taken: [String] = []
        let service = PortService(of: domain, on: reactor, eventBudget: 8) {
            if let event = domain.store.nextWatchEvent() { taken.append(event.token) }
        }
        reactor.settle()
        for token in ["a", "b", "c"] { #expect(domain.store.perform(.watch(.root, token: token)) == .done) }
        reactor.settle()
        #expect(taken == ["a", "b", "c"])
        #expect(writer.perform(.write(.root.appending("x"), "v")) == .done)
        reactor.settle()
        #expect(taken == ["a", "b", "c", "a", "b", "c"])
        service.cancel()
    }
}
