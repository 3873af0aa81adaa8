// SPDX-License-Identifier: MIT

import Foundation
import Glibc
import Testing
import XenBus
import XenChannels
import XenHypervisor
import XenInterface
import XenRing
import XenStore

@testable import XenChannelIO

@Suite(.longest)
struct EndToEndTests {
    private static let echo = "connection=socket,path=%/a.sock,name=org.example.agent.1"

    @Test func `lines through a socket channel come back from the guest's echo`() throws {
        let world = try TestWorld(channels: [EndToEndTests.echo])
        let client = try world.connect("a.sock")
        try client.send([UInt8]("hello\n".utf8))
        #expect(try client.receive(6) == [UInt8]("hello\n".utf8))
        #expect(try world.stop().isEmpty)
        #expect(!exists(world.folder("a.sock")))
    }

    @Test func `with frontend and backend on two threads, megabytes come back in order, also to a half-closed client`()
        throws
    {
        let world = try TestWorld(channels: [EndToEndTests.echo], onTwoThreads: true)
        let client = try world.connect("a.sock")
        let sent = pattern(5_300_000)
        let sender = Thread {
            do { try client.send(sent) } catch { Issue.record(error) }
            client.endWriting()
        }
        sender.start()
        #expect(try client.receive(sent.count) == sent)
        try world.stop()
        #expect(world.reports.isEmpty)
    }

    @Test func `a program's answer is whole, then the frontend closes through the protocol`() throws {
        let world = try TestWorld(channels: [EndToEndTests.echo]) { _ in
            .program("read line; echo \"$line\"; head -c 100000 /dev/zero")
        }
        let client = try world.connect("a.sock")
        try client.send([UInt8]("to you\n".utf8))
        #expect(try client.receive(7) == [UInt8]("to you\n".utf8))
        #expect(try client.receive(100_000) == [UInt8](repeating: 0, count: 100_000))
        let frontend = "/local/domain/\(world.domain)/device/console/1/state"
        let backend = "/local/domain/0/backend/console/\(world.domain)/1/state"
        try world.wait("both sides are closed") { try world.store(frontend) == "6" && world.store(backend) == "6" }
        #expect(world.host.leaks(of: world.domain).grants.isEmpty)
        #expect(world.host.leaks(of: .dom0).isEmpty)
        try world.stop()
    }

    @Test func `a client that floods and never reads disturbs no other channel, and costs no more than the limit`()
        throws
    {
        let world = try TestWorld(channels: [EndToEndTests.echo, "connection=socket,path=%/b.sock,name=b"])
        let flooder = try Far(connectingTo: world.folder("a.sock"))
        let client = try world.connect("b.sock")
        let isFlooding = Flag()
        let thread = Thread {
            // Until nothing goes through any more, and then on and on.
            while isFlooding.value { send(pattern(65_536), to: flooder) }
        }
        thread.start()
        for round in 0..<200 {
            let bytes = pattern(100, from: round * 100)
            try client.send(bytes)
            #expect(try client.receive(100) == bytes)
        }
        let flooded = try world.channels.first { $0.device == DeviceID(1) }
        #expect(try #require(flooded).bytesUndelivered <= ChannelAttachment.defaultLimit)
        isFlooding.lower()
        try world.wait("the flood is over") { thread.isFinished }
        flooder.leave()
        try world.stop()
    }

    @Test func `a guest that never stops sending events keeps nobody waiting`() throws {
        let world = try TestWorld(
            channels: [EndToEndTests.echo, "connection=socket,path=%/b.sock,name=b"],
            onTwoThreads: true
        )
        let isStorming = Flag()
        let (host, guest) = (world.host, world.domain)
        // Port 1 is the store's, 2 that of the first channel.
        let thread = Thread {
            var events = DomainEventChannels(of: guest, in: host)
            while isStorming.value { try? events.notify(EventChannelPort(2)) }
        }
        thread.start()
        let client = try world.connect("b.sock")
        for round in 0..<50 {
            try client.send([UInt8(round)])
            #expect(try client.receive(1) == [UInt8(round)])
        }
        isStorming.lower()
        try world.wait("the storm is over") { thread.isFinished }
        try world.stop()
    }

    @Test func `a client that was there before the guest is served when it comes`() throws {
        let world = try TestWorld(channels: [EndToEndTests.echo], startsGuest: false)
        try world.wait("the socket is there") { exists(world.folder("a.sock")) }
        let client = try world.connect("a.sock")
        try client.send(pattern(3000))
        try world.onGuest { $0.start() }
        #expect(try client.receive(3000) == pattern(3000))
        try world.stop()
    }

    @Test func `a backend that comes late finds the guest waiting, and takes what it had said`() throws {
        let world = try TestWorld(
            channels: [EndToEndTests.echo],
            agents: { _ in .program("echo early; cat") },
            startsBackend: false
        )
        try world.onBackend { $0.start() }
        try world.wait("connected") { try world.connectedCount == 1 }
        try world.wait("it has spoken") { try world.channels.first?.bytesUndelivered == 6 }
        let client = try world.connect("a.sock")
        #expect(try client.receive(6) == [UInt8]("early\n".utf8))
        try world.stop()
    }

    @Test(arguments: [false, true])
    func `channels come and go while others run, and a number can be used again`(onTwoThreads: Bool) throws {
        let world = try TestWorld(channels: [EndToEndTests.echo], onTwoThreads: onTwoThreads)
        let steady = try world.connect("a.sock")
        let guest = world.domain
        let all = try TestWorld.configurations(
            [EndToEndTests.echo, "connection=socket,path=%/b.sock,name=b"],
            in: world.folder
        )
        let late = try #require(all.last)
        for round in 0..<3 {
            try world.onToolstack { try $0.attach(late, to: guest) }
            try world.wait("the late channel connects") { try world.connectedCount == 2 }
            let client = try world.connect("b.sock")
            try client.send(pattern(5000))
            #expect(try client.receive(5000) == pattern(5000))
            try world.onToolstack { try $0.remove(late.device, from: guest) }
            // The client sees the end.
            #expect(try client.receive(1).isEmpty)
            try world.wait("it is gone") {
                let agents = try world.agents.count
                return try world.channels.count == 1 && agents == 1
            }
            #expect(!exists(world.folder("b.sock")))
            try world.wait("its grant is ended") { world.host.leaks(of: guest).grants.count == 1 }
            #expect(world.host.leaks(of: .dom0).mappings.count == 1)
            try steady.send([UInt8(round)])
            #expect(try steady.receive(1) == [UInt8(round)])
        }
        try world.stop()
    }

    @Test func `a grant that the backend still holds is ended when it lets go (F5)`() throws {
        let world = try TestWorld(channels: [EndToEndTests.echo])
        var grants = DomainGrants(of: .dom0, in: world.host)
        let guest = world.domain
        let mapping = try grants.map(GrantReference(8), of: guest, readOnly: false)
        try world.onToolstack { try $0.remove(DeviceID(1), from: guest) }
        try world.wait("it is gone") { try world.agents.isEmpty }
        #expect(world.host.leaks(of: guest).grants.count == 1)
        try grants.unmap(mapping)
        try world.wait("its grant is ended") { world.host.leaks(of: guest).grants.isEmpty }
        try world.stop()
    }

    @Test func `a channel that is removed takes its program with it`() throws {
        let world = try TestWorld(channels: [EndToEndTests.echo]) { _ in
            .program("trap '' TERM; echo $$; while :; do sleep 1000; done")
        }
        let client = try world.connect("a.sock")
        var line: [UInt8] = []
        while line.last != UInt8(ascii: "\n") { line += try client.receive(1) }
        let number = try #require(pid_t(String(decoding: line.dropLast(), as: UTF8.self)))
        #expect(kill(number, 0) == 0)
        let guest = world.domain
        try world.onToolstack { try $0.remove(DeviceID(1), from: guest) }
        #expect(try client.receive(1).isEmpty)
        try world.wait("gone") { try world.agents.isEmpty }
        // The end waits for the program, however stubborn.
        try world.stop()
        #expect(kill(number, 0) != 0)
        #expect(world.host.leaks(of: guest).grants.isEmpty)
    }

    @Test func `a terminal at both ends passes bytes as they are`() throws {
        let world = try TestWorld(channels: ["connection=pty,name=console"]) { _ in .terminal }
        let outside = try Far(opening: try #require(try world.channels.first?.tty))
        let inside = try Far(opening: try #require(try world.agents.first?.tty))
        #expect(
            try world.store("/local/domain/\(world.domain)/device/console/1/tty") == world.channels.first?.tty
        )
        for (from, to) in [(outside, inside), (inside, outside)] {
            var sent = 0
            try world.wait("all of it passed") {
                sent += from.send([UInt8](pattern(50_000)[sent..<min(50_000, sent + 1000)]))
                return to.receive().count == 50_000
            }
            #expect(to.received == pattern(50_000))
        }
        try world.stop()
    }

    @Test func `an index out of range in a live page stops one direction of one channel, until it is sane again`()
        throws
    {
        let world = try TestWorld(channels: [EndToEndTests.echo, "connection=socket,path=%/b.sock,name=b"])
        // The store's page is the first of the guest's.
        let page = try #require(world.host.page(FrameNumber(2), of: world.domain)).page
        let hostile = try world.connect("a.sock")
        let other = try world.connect("b.sock")
        page.storeRelease(9999, at: RingLayout.consoleIn.consumerIndex)
        try hostile.send(pattern(10))
        try world.wait("it is told") { world.reports.contains { $0.contains("out of range") } }
        try other.send(pattern(500))
        #expect(try other.receive(500) == pattern(500))
        #expect(try world.channels.map { $0.ringViolations > 0 } == [true, false])
        page.storeRelease(0, at: RingLayout.consoleIn.consumerIndex)
        #expect(try hostile.receive(10) == pattern(10))
        #expect(world.reports.count == 1)
        try world.stop()
    }

    @Test func `a page that is out of range when the backend joins ends that channel alone`() throws {
        let world = try TestWorld(
            channels: [EndToEndTests.echo, "connection=socket,path=%/b.sock,name=b"],
            startsBackend: false
        )
        let frontend = "/local/domain/\(world.domain)/device/console/1/state"
        try world.wait("the guest has published") { try world.store(frontend) == "3" }
        let page = try #require(world.host.page(FrameNumber(2), of: world.domain)).page
        page.storeRelease(5000, at: RingLayout.consoleOut.producerIndex)
        try world.onBackend { $0.start() }
        try world.wait("the other is connected") { try world.connectedCount == 1 }
        try world.wait("the guest has closed it") { try world.store(frontend) == "6" }
        #expect(world.reports.contains { $0.contains("out of range") })
        let client = try world.connect("b.sock")
        try client.send(pattern(10))
        #expect(try client.receive(10) == pattern(10))
        #expect(world.host.leaks(of: .dom0).mappings.count == 1)
        try world.stop()
    }

    @Test func `bytes that nobody takes are counted at the end`() throws {
        let world = try TestWorld(channels: [EndToEndTests.echo]) { _ in .program("echo unheard; cat") }
        try world.wait("it has spoken") { try world.channels.first?.bytesUndelivered == 8 }
        let left = try world.stop()
        #expect(left.map(\.bytesUndelivered) == [8])
    }

    @Test func `after an orderly close nothing is left, and the host can be used again`() throws {
        let world = try TestWorld(channels: [EndToEndTests.echo, "connection=pty,name=b"])
        let client = try world.connect("a.sock")
        try client.send(pattern(100))
        #expect(try client.receive(100) == pattern(100))
        try world.stop()
        #expect(world.host.leaks(of: .dom0).isEmpty)
        #expect(world.host.leaks(of: world.domain).grants.isEmpty)
        let toolstack = LiveToolstack(on: world.host)
        for device in [1, 2] { try toolstack.remove(DeviceID(UInt32(device)), from: world.domain) }
        try toolstack.destroy(world.domain)
        #expect(world.host.leaks().isEmpty)
        #expect(world.host.store.withLock { $0.server.transactionCount } == 0)
    }

    @Test(arguments: [false, true])
    func `who is told of a change may close everything there and then`(isBackendFirst: Bool) throws {
        let loop = try Loop()
        let host = LiveHost()
        let folder = try Folder()
        let configurations = try TestWorld.configurations([EndToEndTests.echo], in: folder)
        var isClosed = false
        let daemons = try loop.sync {
            let backend = BackendDaemon(of: host.controlDomain, on: loop.reactor)
            let domain = try LiveToolstack(on: host).createGuest(name: "g", uuid: UUID().uuidString) { _ in
                configurations
            }
            let guest = GuestDaemon(of: domain, on: loop.reactor) { _ in .echo }
            if isBackendFirst {
                backend.onChange = { [unowned backend] status in
                    if status.isConnected { backend.close { guest.close { isClosed = true } } }
                }
            } else {
                guest.onChange = { [unowned guest] status in
                    if status.isConnected { guest.close { backend.close { isClosed = true } } }
                }
            }
            backend.start()
            guest.start()
            return (backend, guest)
        }
        let deadline = Date(timeIntervalSinceNow: 20)
        while try !loop.sync({ isClosed }), Date() < deadline { usleep(1000) }
        #expect(try loop.sync { isClosed && daemons.0.channels.isEmpty && daemons.1.channels.isEmpty })
        try loop.stop()
    }

    @Test func `a guest that could not be made leaves nothing behind`() throws {
        let host = LiveHost()
        let toolstack = LiveToolstack(on: host)
        #expect(throws: ToolstackError.self) {
            _ = try toolstack.createGuest(name: "g", uuid: UUID().uuidString) { _ throws(ToolstackError) in
                throw .eventChannel(.noFreePort)
            }
        }
        #expect(host.leaks().isEmpty)
        let store = LiveStoreConnection(as: .dom0, to: host)
        #expect(store.perform(.read(try #require(StorePath("/local/domain/1/name")))) == .failure(.noEntry))
    }
}

/// A flag that another thread sees.
final class Flag: @unchecked Sendable {
    private let lock = NSLock()
    private var isUp = true

    var value: Bool { lock.withLock { isUp } }
    func lower() { lock.withLock { isUp = false } }
}

/// Sends what goes at once, whatever thread this is.
private func send(_ bytes: [UInt8], to far: Far) {
    Reactor.blockBrokenPipeSignal()
    far.send(bytes)
    usleep(200)
}
