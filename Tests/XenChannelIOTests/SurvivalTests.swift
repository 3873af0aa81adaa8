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

@Suite(.longest)
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
