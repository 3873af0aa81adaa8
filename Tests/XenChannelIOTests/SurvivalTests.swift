// SPDX-License-Identifier: MIT

import Glibc
import Testing
import XenBus
import XenChannels
import XenHypervisor
import XenInterface
import XenRing

@testable import XenChannelIO

/// A host with one guest whose frontends are live and whose backend comes and goes, all turned by the test.
private final class KillBench {
    let folder: Folder
    let reactor: Reactor
    let host = LiveHost()
    let guest: GuestDaemon
    let service: ChannelService
    private(set) var backend: BackendDaemon?
    private(set) var reports: [String] = []

    init(_ service: ChannelService, agent: AgentKind, channels: Int = 1) throws {
        self.service = service
        let folder = try Folder()
        self.folder = folder
        reactor = try Reactor()
        let configurations = try TestWorld.configurations(
            (0..<channels).map { "connection=socket,path=%/\($0).sock,name=c\($0)" },
            in: folder
        )
        let domain = try LiveToolstack(on: host).createGuest(name: "g", uuid: "0") { _ in configurations }
        guest = GuestDaemon(of: domain, on: reactor) { _ in agent }
        guest.start()
        startBackend()
    }

    func startBackend() {
        let service = service
        let made = BackendDaemon(of: host.controlDomain, on: reactor) { _ in service }
        made.onReport = { [unowned self] in reports.append($0.description) }
        backend = made
        made.start()
        reactor.turn(until: "connected") { made.channels.allSatisfy(\.isConnected) && !made.channels.isEmpty }
    }

    /// Ends the backend as a kill does.
    func kill() {
        backend = nil
        reactor.settle()
        precondition(host.leaks(of: .dom0).mappings.isEmpty, "a process that is gone maps nothing")
    }

    func client(_ channel: Int = 0) throws -> Far {
        try Far(connectingTo: folder("\(channel).sock"))
    }

    var status: ChannelStatus? { backend?.channels.first }
}

@Suite(.timeLimit(.minutes(1)))
struct SurvivalTests {
    @Test
    func `with the bytes in the ring, a kill loses none, and repeats none that were handed over`()
        throws
    {
        let bench = try KillBench(
            ChannelService(overflow: .blockForever, durability: .ring),
            agent: .program("seq 1 200000; exec cat")
        )
        // More than a socket's buffers hold, so that no single life of the backend can hand over all of it.
        let expected = [UInt8]((1...200_000).map { "\($0)\n" }.joined().utf8)
        var received: [UInt8] = []
        var kills = 0
        // The client takes a little, then the backend is killed: what it had written to the client's socket counts as handed over.
        while received.count < expected.count {
            let client = try bench.client()
            bench.reactor.turn(until: "the client has some") {
                client.receive().count >= min(3000, expected.count - received.count)
            }
            bench.kill()
            received += client.receive()
            #expect(received == [UInt8](expected.prefix(received.count)))
            guard received == [UInt8](expected.prefix(received.count)) else { return }
            kills += 1
            bench.startBackend()
        }
        #expect(kills > 1)
        #expect(bench.status?.bytesUndelivered == 0)
    }

    @Test func `with a backlog, a kill loses what had been drained and not handed out`()
        throws
    {
        let bench = try KillBench(
            ChannelService(overflow: .blockForever, durability: .backlog),
            agent: .program("i=0; while [ $i -lt 1000 ]; do echo line $i; i=$((i+1)); done; exec cat")
        )
        let expected = [UInt8]((0..<1000).map { "line \($0)\n" }.joined().utf8)
        bench.reactor.turn(until: "the backlog has all") { bench.status?.bytesUndelivered == expected.count }
        bench.kill()
        bench.startBackend()
        #expect(bench.status?.bytesUndelivered == 0)
        // What comes now arrives.
        let client = try bench.client()
        client.send([UInt8]("more".utf8))
        bench.reactor.turn(until: "it arrives") { client.receive() == [UInt8]("more".utf8) }
    }

    @Test
    func `towards the guest, a kill loses what was read from the client and not published`()
        throws
    {
        for durability in [ChannelDurability.backlog, .ring] {
            let gate = try Folder()
            let bench = try KillBench(
                ChannelService(overflow: .blockForever, durability: durability),
                agent: .program("while [ ! -e \(gate("open")) ]; do sleep 0.02; done; exec cat")
            )
            let client = try bench.client()
            let sent = pattern(200_000)
            // The program takes nothing yet: its pipe, the guest's queue and the ring fill, and one piece waits in the backend.
            var done = 0
            bench.reactor.turn(until: "bytes wait in the backend") {
                done += client.send([UInt8](sent[done..<min(sent.count, done + 4096)]))
                return (bench.status?.bytesUntaken ?? 0) > 1024
            }
            let published = try #require(bench.status?.statistics.bytesSent)
            let untaken = try #require(bench.status?.bytesUntaken)
            #expect(untaken <= 65_536 + 1024)
            bench.kill()
            bench.startBackend()
            let next = try bench.client()
            close(unsafe open(gate("open"), O_CREAT | O_WRONLY, 0o600))
            bench.reactor.turn(until: "what was published comes back") { next.receive().count >= Int(published) }
            bench.reactor.settle()
            #expect(next.receive() == [UInt8](sent.prefix(Int(published))))
        }
    }

    /// An event is noted at once, and what it brought is looked at when the loop's turn ends.
    @Test func `who is killed between an event and the end of the turn is told of nothing`() throws {
        let (folder, page) = (try Folder(), try Bench())
        var endpoint: SocketEndpoint? = try SocketEndpoint(
            path: folder("s"),
            on: page.reactor,
            service: ChannelService(overflow: .disconnect)
        )
        let user = try #require(endpoint?.user)
        user.attach(try page.ring(), limit: 100)
        let far = try Far(connectingTo: folder("s"))
        far.send([1])
        page.reactor.settle()
        try page.write(pattern(2000))
        user.ringChanged()
        endpoint = nil
        page.reactor.settle()
        far.receive()
        #expect(far.isEnded)
    }

    @Test func `an orderly end says what was left on either way`() throws {
        let bench = try KillBench(ChannelService(), agent: .program("printf unheard; exec sleep 1000"))
        bench.reactor.turn(until: "it has spoken") { bench.status?.bytesUndelivered == 7 }
        let client = try bench.client()
        var done = 0
        bench.reactor.turn(until: "bytes wait in the backend") {
            done += client.send(pattern(4096))
            return (bench.guest.channels.first?.bytesUndelivered ?? 0) > 60_000 && (bench.status?.bytesUntaken ?? 0) > 0
        }
        #expect(client.receive().count == 7)
        var isClosed = false
        bench.guest.close { isClosed = true }
        bench.reactor.turn(until: "the guest is closed") { isClosed }
        isClosed = false
        bench.backend?.close { isClosed = true }
        bench.reactor.turn(until: "the backend is closed") { isClosed }
        let left = try #require(bench.backend?.leftovers.first)
        let agentLeft = try #require(bench.guest.leftovers.first)
        // Sent by the client, less what its socket still holds: the program's pipe has the rest.
        #expect(left.bytesUntaken > 0)
        #expect(agentLeft.bytesUndelivered > 0)
        let taken = Int(agentLeft.statistics.bytesReceived)
        #expect(taken + left.bytesUntaken <= done)
        #expect(taken + left.bytesUntaken > Int(left.statistics.bytesSent))
    }
}

@Suite(.timeLimit(.minutes(1)))
struct PumpPolicyTests {
    private func flood(_ bench: Bench, _ pump: StreamPump, _ count: Int) throws -> Int {
        var written = 0
        while written < count {
            let moved = try bench.write(pattern(min(2048, count - written), from: written))
            guard moved > 0 else { break }
            written += moved
            pump.ringChanged()
        }
        return written
    }

    @Test(arguments: [ChannelDurability.backlog, .ring])
    func `the deadline passes only when no byte is taken, and is told once`(durability: ChannelDurability) throws {
        let bench = try Bench()
        let policy = OverflowPolicy.block(deadline: .milliseconds(30), then: .dropMiddle(.xenconsoled))
        let pump = StreamPump(on: bench.reactor, service: ChannelService(overflow: policy, durability: durability))
        var told = 0
        pump.onOverflow = { told += 1 }
        pump.attach(try bench.ring(), limit: 4096)
        let written = try flood(bench, pump, 100_000)
        bench.reactor.settle()
        // The guest waits first.
        #expect(written == (durability == .ring ? 2048 : 4096 + 2048))
        bench.reactor.turn(until: "it is told") { told == 1 }
        for _ in 0..<3 {
            let more = try flood(bench, pump, 20_000)
            bench.reactor.settle()
            #expect(more >= 2048)
        }
        #expect(told == 1)
        #expect(pump.statistics.bytesDropped > 0)
        #expect(pump.backlogCount <= 4096 + 1024)
        // Somebody comes and takes it: the guest waits again, and nothing is dropped meanwhile.
        let (outlet, client) = try bench.outlet(of: pump)
        pump.attach(outlet)
        let total = { Int(pump.statistics.bytesFromRing &- pump.statistics.bytesDropped) }
        bench.reactor.turn(until: "the client has what was left") {
            client.receive().count == total() && pump.backlogCount == 0
        }
        let dropped = pump.statistics.bytesDropped
        for _ in 0..<50 {
            _ = try flood(bench, pump, 2048)
            bench.reactor.settle()
            client.receive()
        }
        #expect(pump.statistics.bytesDropped == dropped)
        #expect(client.receive().count == total())
    }

    @Test func `a client that takes nothing is disconnected, and the next begins with what comes then`() throws {
        let bench = try Bench()
        let pump = StreamPump(on: bench.reactor, service: ChannelService(overflow: .disconnect))
        var hasLeft = false
        pump.onOutletOver = { hasLeft = true }
        pump.attach(try bench.ring(), limit: 4096)
        let client: Far
        do {
            let (outlet, far) = try bench.outlet(of: pump)
            client = far
            pump.attach(outlet)
        }
        var written = 0
        while !hasLeft {
            written += try flood(bench, pump, 2048)
            bench.reactor.settle()
            try #require(written < 10_000_000, "it was never disconnected")
        }
        client.receive()
        #expect(client.isEnded)
        // All of it is accounted for.
        #expect(client.received.count + pump.backlogCount + Int(pump.statistics.bytesDropped) == written)
        #expect(pump.backlogCount <= 2048)
    }

    @Test(arguments: [ChannelDurability.backlog, .ring])
    func `what is in the ring when it goes reaches the next client`(durability: ChannelDurability) throws {
        let bench = try Bench()
        let pump = StreamPump(on: bench.reactor, service: ChannelService(durability: durability))
        pump.attach(try bench.ring(), limit: 4096)
        try bench.write(pattern(100))
        pump.ringChanged()
        bench.reactor.settle()
        pump.detachRing()
        #expect(pump.backlogCount == 100)
        let (outlet, client) = try bench.outlet(of: pump)
        pump.attach(outlet)
        bench.reactor.turn(until: "the client has it") { client.receive() == pattern(100) }
    }

    @Test func `what an echo leaves in the ring when it goes is counted`() throws {
        let bench = try Bench()
        let echo = LoopbackEndpoint(givesBack: true)
        echo.attach(try bench.ring(), limit: 4096)
        try bench.write(pattern(100))
        echo.detachRing()
        #expect(echo.backlogCount == 100)
    }

    @Test func `the policy's timer does not run while the guest has room, nor after the ring went`() throws {
        let bench = try Bench()
        let policy = OverflowPolicy.block(deadline: .milliseconds(1), then: .disconnect)
        let pump = StreamPump(on: bench.reactor, service: ChannelService(overflow: policy))
        pump.attach(try bench.ring(), limit: 2048)
        _ = try flood(bench, pump, 2048)
        bench.reactor.settle()
        #expect(bench.reactor.turns() < 5)
        #expect(pump.statistics.bytesDropped == 0)
        pump.detachRing()
        #expect(bench.reactor.turns() < 5)
    }
}

@Suite(.timeLimit(.minutes(1)))
struct FairnessTests {
    @Test func `a guest that notifies at all its ports without end delays another by no turn`() throws {
        let host = LiveHost()
        let reactor = try Reactor()
        let folder = try Folder()
        let toolstack = LiveToolstack(on: host)
        let backend = BackendDaemon(of: host.controlDomain, on: reactor)
        var domains: [LiveDomain] = []
        var guests: [GuestDaemon] = []
        for (name, count) in [("hostile", 70), ("quiet", 1)] {
            let channels = try TestWorld.configurations(
                (0..<count).map { "connection=socket,path=%/\(name)\($0),name=c\($0)" },
                in: folder
            )
            let domain = try toolstack.createGuest(name: name, uuid: name) { _ in channels }
            let guest = GuestDaemon(of: domain, on: reactor) { _ in .echo }
            domains.append(domain)
            guests.append(guest)
            guest.start()
        }
        backend.start()
        reactor.turn(until: "all are connected") { backend.channels.count { $0.isConnected } == 71 }
        reactor.settle()
        // From here on the hostile guest raises each of its ports again whenever anything else is done.
        let hostile = host.withHypervisor { $0.openPorts(of: domains[0].id) }
        var rounds = 0
        let storm = reactor.addWork {
            rounds += 1
            for port in hostile { try? domains[0].events.notify(port) }
            return true
        }
        let client = try Far(connectingTo: folder("quiet0"))
        for round in 0..<5 {
            client.send([UInt8(round)])
            var turns = 0
            while client.receive().count <= round {
                reactor.turn()
                turns += 1
                guard turns < 100 else { break }
            }
            // One to accept or read, in which the byte goes all the way to the guest and back.
            #expect(turns <= 3, "round \(round)")
        }
        #expect(client.received == (0..<5).map { UInt8($0) })
        #expect(rounds > 5)
        storm.cancel()
        reactor.settle()
    }

    @Test func `ports of a quiet domain are served in the same round as a storm of many ports`() throws {
        let host = LiveHost()
        let reactor = try Reactor()
        let folder = try Folder()
        let toolstack = LiveToolstack(on: host)
        let backend = BackendDaemon(of: host.controlDomain, on: reactor)
        let channels = try TestWorld.configurations(
            (0..<70).map { "connection=socket,path=%/\($0),name=c\($0)" },
            in: folder
        )
        let one = try TestWorld.configurations(["connection=socket,path=%/q,name=q"], in: folder)
        let hostile = try toolstack.createGuest(name: "h", uuid: "h") { _ in channels }
        let quiet = try toolstack.createGuest(name: "q", uuid: "q") { _ in one }
        let hostileGuest = GuestDaemon(of: hostile, on: reactor) { _ in .discard }
        let quietGuest = GuestDaemon(of: quiet, on: reactor) { _ in .program("exec cat") }
        hostileGuest.start()
        quietGuest.start()
        backend.start()
        reactor.turn(until: "all are connected") { backend.channels.count { $0.isConnected } == 71 }
        reactor.settle()
        // Work is done in the order of its making: the backend's is first in each round.
        var rounds = 0
        var roundsUntilServed: Int?
        let ports = host.withHypervisor { $0.openPorts(of: hostile.id) }
        // The channel's page was made after the store's.
        let page = try #require((1..<500).compactMap { host.page(FrameNumber($0), of: quiet.id) }.last).page
        let before = page.loadAcquire(at: RingLayout.consoleOut.consumerIndex)
        let storm = reactor.addWork {
            rounds += 1
            for port in ports { try? hostile.events.notify(port) }
            if rounds == 50 {
                // The quiet guest's byte, put there by hand, and its event.
                page.storeReleaseByte(65, at: RingLayout.consoleOut.data + Int(before & 2047))
                page.storeRelease(before &+ 1, at: RingLayout.consoleOut.producerIndex)
                for port in host.withHypervisor({ $0.openPorts(of: quiet.id) }) {
                    try? quiet.events.notify(port)
                }
            }
            if rounds > 50, roundsUntilServed == nil,
                page.loadAcquire(at: RingLayout.consoleOut.consumerIndex) == before &+ 1
            {
                roundsUntilServed = rounds - 50
            }
            return true
        }
        for _ in 0..<20 where roundsUntilServed == nil { reactor.turn() }
        storm.cancel()
        #expect(roundsUntilServed == 1)
        // What was put there by hand is unknown to the guest's own end; nothing more is done with it.
    }
}
