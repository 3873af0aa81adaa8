// SPDX-License-Identifier: MIT

import Glibc
import Testing
import XenChannels
import XenHypervisor
import XenInterface
import XenRing

@testable import XenChannelIO

@Suite(.longest)
struct PortServiceTests {
    @Test func `an event from elsewhere becomes pending, and is served`() throws {
        let echo = try PortEcho()
        try echo.send()
        #expect(echo.isPending)
        echo.reactor.settle()
        #expect(!echo.isPending)
        #expect(echo.answers == 1)
    }

    @Test func `an event of the loop's own thread is taken without becoming pending, once, and is served`() throws {
        let echo = try PortEcho()
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
        let echo = try PortEcho()
        if knowsTheWay { echo.findWay() }
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
        let echo = try PortEcho()
        if knowsTheWay { echo.findWay() }
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
        let echo = try PortEcho()
        echo.findWay()
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

    @Test
    func `an event that is sent while no loop turns here becomes pending, also if some went past before`()
        throws
    {
        let echo = try PortEcho()
        echo.findWay()
        try echo.send()
        #expect(echo.isPending)
        echo.reactor.settle()
        #expect(echo.answers == 3)
    }

    @Test func `an event that went past the hypervisor after all was looked at keeps the loop awake`() throws {
        let echo = try PortEcho()
        echo.findWay()
        var hasSent = false
        var isLate = false
        let alarm = echo.reactor.after(.seconds(2)) { isLate = true }
        let work = echo.reactor.addWork {
            if echo.answers == 3 || isLate { echo.reactor.stop() }
            guard !hasSent else { return false }
            hasSent = true
            do { try echo.send() } catch { Issue.record(error) }
            // It does not say so.
            return false
        }
        echo.reactor.run()
        #expect(echo.answers == 3 && !isLate)
        alarm.cancel()
        work.cancel()
    }

    @Test func `a service that ends leaves no port waiting in its loop`() throws {
        let echo = try PortEcho()
        let second = PortListener()
        second.user = echo.loopback.listener
        let port = try echo.guest.events.allocateUnbound(for: .dom0)
        let peer = try echo.dom0.events.bindInterdomain(echo.guest.id, port: port)
        echo.service.register(second, at: port, of: echo.guest.id)
        echo.within {
            try echo.send()
            echo.dom0.notify(peer)
            #expect(echo.reactor.loneEvent.queuedCount == 2)
            echo.service.cancel()
            #expect(echo.reactor.loneEvent.queuedCount == 0)
        }
    }

    @Test func `a device that ends while a port is served is kept until that is over`() throws {
        final class Device {}
        let echo = try PortEcho()
        var device: Device? = Device()
        weak let kept = device
        var wasKept = false
        echo.loopback.onViolation = { _ in
            if let ended = device { echo.service.retire(ended) }
            device = nil
            wasKept = kept != nil
        }
        // An index that makes no sense.
        echo.memory.page.storeRelease(5000, at: RingLayout.consoleIn.producerIndex)
        echo.dom0.notify(echo.peer)
        echo.reactor.settle()
        #expect(device == nil && wasKept)
        #expect(kept == nil)
    }

    @Test func `the event of a port that nobody registered here is left to others`() throws {
        let echo = try PortEcho()
        let isKnown = [echo.port, EventChannelPort(2), EventChannelPort(70_000)].map { port in
            echo.service.way(to: port, generation: 0) != nil
        }
        #expect(isKnown == [true, false, false])
        echo.service.unregister(echo.port)
        #expect(echo.service.way(to: echo.port, generation: 0) == nil)
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
