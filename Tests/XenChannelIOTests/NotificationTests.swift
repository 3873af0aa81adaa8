// SPDX-License-Identifier: MIT

import Testing
import XenChannels
import XenHypervisor
import XenInterface
import XenRing

@testable import XenChannelIO

/// A daemon that takes as many events of a console in a period as xenconsoled does, and the whole ring at each (A28, A29).
private final class MeteredDaemon {
    let reactor: Reactor
    let memory = PageMemory()
    let pump: StreamPump
    private var ring: ConsoleRing<SharedPage>
    private var isPending = false
    private(set) var events = 0
    private(set) var taken: [UInt8] = []

    init() throws {
        reactor = try Reactor()
        pump = StreamPump(on: reactor)
        ring = try ConsoleRing(attaching: memory.page, as: .backend)
        pump.attach(AttachedRing(fresh: memory) { [unowned self] in isPending = true }, limit: 65_536)
    }

    /// Serves until nothing is pending or the period's events are used up; returns whether it was so.
    func serve(upTo budget: Int = 30) throws -> Bool {
        for _ in 0..<budget {
            reactor.settle()
            guard isPending else { return true }
            isPending = false
            events += 1
            var buffer = [UInt8](repeating: 0, count: 2048)
            var span = buffer.mutableSpan
            let count = try ring.input.read(into: &span)
            taken += buffer.prefix(count)
            if count > 0 { pump.ringChanged() }
        }
        return false
    }
}

/// How long a loop stays with the ports of one domain.
@Suite(.longest)
struct PortTurnTests {
    /// Each event that is served sends another to the same port, as two sides in one loop do; many ports of many guests are pending at once.
    @Test func `ports that keep coming let everything else have its turn after some of them (A29, A34)`() throws {
        let host = LiveHost()
        let reactor = try Reactor()
        let domain = host.controlDomain
        let ports = PortService(of: domain, on: reactor, eventBudget: 1000) {}
        var (total, sinceOthers, most) = (0, 0, 0)
        var listeners: [PortListener] = []
        var streams: [ChannelStream] = []
        var farEnds: [EventChannelPort] = []
        for number in 1...200 as ClosedRange<UInt16> {
            let near = try domain.events.allocateUnbound(for: domain.id)
            let far = try domain.events.bindInterdomain(domain.id, port: near)
            let stream = ChannelStream(on: reactor)
            stream.onReady = {
                total += 1
                sinceOthers += 1
                if total < 5000 { domain.notify(far) }
            }
            let listener = PortListener()
            listener.user = stream.listener
            streams.append(stream)
            ports.register(listener, at: near, of: DomainID(number))
            listeners.append(listener)
            farEnds.append(far)
        }
        reactor.addWork {
            most = max(most, sinceOthers)
            sinceOthers = 0
            return false
        }
        for far in farEnds { domain.notify(far) }
        reactor.settle()
        #expect(total >= 5000)
        #expect(most > 0 && most <= 64)
        ports.cancel()
        withExtendedLifetime((listeners, streams)) {}
    }

    /// A port that never stops: what is served at it sends the next event.
    private final class Flood {
        let reactor: Reactor
        let domain = LiveHost().controlDomain
        let ports: PortService
        let listener = PortListener()
        let stream: ChannelStream
        var count = 0

        init(budget: Int) throws {
            reactor = try Reactor()
            ports = PortService(of: domain, on: reactor, eventBudget: budget) {}
            stream = ChannelStream(on: reactor)
            let near = try domain.events.allocateUnbound(for: domain.id)
            let far = try domain.events.bindInterdomain(domain.id, port: near)
            stream.onReady = { [unowned self] in
                count += 1
                domain.notify(far)
            }
            listener.user = stream.listener
            ports.register(listener, at: near, of: DomainID(1))
            reactor.settle()
            domain.notify(far)
        }

        deinit {
            ports.cancel()
        }

        /// How many events were served in one turn.
        func turn() -> Int {
            let before = count
            reactor.turn()
            return count - before
        }
    }

    @Test func `a port that was unregistered gives its guest no more events in a turn`() throws {
        let flood = try Flood(budget: 8)
        for number in 70...80 {
            let port = EventChannelPort(UInt32(number))
            let listener = PortListener()
            flood.ports.register(listener, at: port, of: DomainID(1))
            flood.ports.register(listener, at: port, of: DomainID(1))
            flood.ports.unregister(port)
        }
        let counts = (0..<3).map { _ in flood.turn() }
        // Four times the budget alone, then the budget.
        #expect(counts == [40, 40, 40])
    }

    @Test func `of several services in a loop the one with the smallest budget says what is served alone`() throws {
        let flood = try Flood(budget: 8)
        let other = PortService(of: LiveHost().controlDomain, on: flood.reactor, eventBudget: 1000) {}
        let counts = (0..<3).map { _ in flood.turn() }
        #expect(counts == [40, 40, 40])
        other.cancel()
    }

    @Test func `a loop does not sleep while ports wait for their next turn`() throws {
        let flood = try Flood(budget: 8)
        let timer = flood.reactor.after(.seconds(2)) {}
        var counts: [Int] = []
        while counts.count < 20, timer.isRunning { counts.append(flood.turn()) }
        #expect(counts == [Int](repeating: 40, count: 20))
        #expect(timer.isRunning)
        timer.cancel()
    }
}

/// How many events our own frontends send, where the other side counts them.
@Suite(.longest)
struct NotificationTests {
    @Test func `bulk costs xenconsoled one event for each ring of bytes, not one for each reading (A29)`() throws {
        let daemon = try MeteredDaemon()
        let (near, far) = try pair()
        daemon.pump.attach(Outlet(on: daemon.reactor, input: near) { [unowned pump = daemon.pump] _ in pump.run() })
        let sent = pattern(60_000)
        #expect(far.send(sent) == sent.count)
        #expect(try !daemon.serve())
        // Ceiling of A29: in each period of 30 events nearly 30 rings.
        #expect(daemon.taken.count >= 28 * 2048)
        #expect(try daemon.serve())
        #expect(daemon.taken == sent)
        #expect(daemon.events <= (sent.count + 2047) / 2048 + 2)
    }

    @Test func `what a program writes in small pieces in one turn is one event (A23, A29)`() throws {
        let daemon = try MeteredDaemon()
        let stream = ChannelStream(on: daemon.reactor)
        var events = 0
        stream.attach(AttachedRing(fresh: PageMemory()) { events += 1 }, limit: 1)
        for round in 0..<60 {
            let count = stream.write(pattern(16, from: 16 * round).span)
            #expect(count == 16)
        }
        daemon.reactor.settle()
        #expect(events == 1)
        // And without bytes there is none, whoever looks (A24, A25).
        stream.ringChanged()
        stream.flush()
        daemon.reactor.settle()
        #expect(events == 1)
    }
}
