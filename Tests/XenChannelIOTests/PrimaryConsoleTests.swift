// SPDX-License-Identifier: MIT

import Testing
import XenBus
import XenChannels
import XenHypervisor
import XenInterface
import XenRing
import XenStore

@testable import XenChannelIO

/// A guest with a primary console and a channel beside it, all turned by the test; both sides come and go.
private final class ConsoleBench {
    let folder: Folder
    let reactor: Reactor
    let host = LiveHost()
    let domain: LiveDomain
    let toolstack: LiveToolstack
    var guest: GuestDaemon?
    private(set) var backend: BackendDaemon?
    private(set) var reports: [String] = []

    init(servesConsoles: Bool = true, agent: AgentKind = .echo) throws {
        let folder = try Folder()
        self.folder = folder
        reactor = try Reactor()
        toolstack = LiveToolstack(on: host)
        let channels = try TestWorld.configurations(["connection=socket,path=%/a.sock,name=a"], in: folder)
        domain = try toolstack.createGuest(name: "g", uuid: "0", console: true) { _ in channels }
        boot(agent)
        startBackend(servesConsoles)
    }

    /// Begins a kernel, on what the builder left.
    func boot(_ agent: AgentKind = .echo) {
        let made = GuestDaemon(of: domain, on: reactor) { $0 == nil ? agent : .echo }
        made.onReport = { [unowned self] in reports.append($0.description) }
        guest = made
        made.start()
    }

    /// Ends the kernel in order.
    func shutDown() {
        var isClosed = false
        guest?.close { isClosed = true }
        reactor.turn(until: "the guest is down") { isClosed }
        guest = nil
    }

    func startBackend(_ servesConsoles: Bool = true, connected: Int? = nil) {
        let made = BackendDaemon(of: host.controlDomain, on: reactor, servesPrimaryConsoles: servesConsoles)
        made.onReport = { [unowned self] in reports.append($0.description) }
        backend = made
        made.start()
        awaitConnection(connected ?? (servesConsoles ? 2 : 1))
    }

    func awaitConnection(_ count: Int = 2) {
        reactor.turn(until: "connected") {
            backend?.channels.count { $0.isConnected } == count && guest?.channels.count { $0.isConnected } == 2
        }
    }

    /// Ends the backend as a kill does.
    func killBackend() {
        backend = nil
        reactor.settle()
    }

    var status: ChannelStatus? { backend?.channels.first { $0.device == .primaryConsole } }

    func read(_ path: String) throws -> String? {
        let path = try #require(StorePath(path))
        guard case .value(let value) = LiveStoreConnection(as: .dom0, to: host).perform(.read(path)) else { return nil }
        return value.text
    }

    /// Opens the console as xenconsole does: by what `tty` says (B8).
    func open() throws -> Far {
        try Far(opening: try #require(try read("/local/domain/1/console/tty")))
    }

    func channel() throws -> Far { try Far(connectingTo: folder("a.sock")) }

    func exchange(_ text: String, with far: Far) {
        let expected = far.received + [UInt8](text.utf8)
        far.send([UInt8](text.utf8))
        reactor.turn(until: "\(text) comes back") { far.receive().count >= expected.count }
        #expect(far.received == expected)
    }
}

/// Device 0 in a live world (B1 to B8).
@Suite(.longest)
struct PrimaryConsoleTests {
    @Test func `a console is connected from the builder's page and port, and its terminal is told`() throws {
        let bench = try ConsoleBench()
        let status = try #require(bench.status)
        #expect(status.connection == .pty)
        #expect(status.name == nil)
        #expect(try bench.read("/local/domain/1/console/tty") == status.tty)
        // A page that the builder had marked as one nobody serves is marked anew (A10).
        let page = try #require(bench.domain.primaryConsole?.page)
        #expect(try ConsoleRing(attaching: page.memory.page, as: .frontend).connection == .connected)
        #expect(try bench.read("/local/domain/1/console/ring-ref") == page.frame.rawValue.description)
        bench.exchange("hello", with: try bench.open())
        bench.exchange("beside it", with: try bench.channel())
        #expect(bench.reports.isEmpty)
    }

    @Test func `before a backend is there the page says so, and what the guest writes is kept`() throws {
        let host = LiveHost()
        let reactor = try Reactor()
        let domain = try LiveToolstack(on: host).createGuest(name: "g", uuid: "0", console: true) {
            _ throws(ToolstackError) in []
        }
        let page = try #require(domain.primaryConsole?.page)
        #expect(try ConsoleRing(attaching: page.memory.page, as: .frontend).connection == .disconnected)
        let guest = GuestDaemon(of: domain, on: reactor) { _ in .program("printf login:; exec cat") }
        guest.start()
        reactor.turn(until: "it has written") { page.memory.page.loadAcquire(at: 3084) == 6 }
        let backend = BackendDaemon(of: host.controlDomain, on: reactor, servesPrimaryConsoles: true)
        backend.start()
        reactor.turn(until: "it is taken") { backend.channels.first?.bytesUndelivered == 6 }
        let far = try Far(opening: try #require(backend.channels.first?.tty))
        reactor.turn(until: "it is read") { far.receive() == [UInt8]("login:".utf8) }
        var isClosed = false
        guest.close { isClosed = true }
        reactor.turn(until: "no process is left") { isClosed }
    }

    @Test func `a backend that was killed is followed by one that binds the same port`() throws {
        let bench = try ConsoleBench()
        bench.exchange("before", with: try bench.open())
        for _ in 0..<3 {
            bench.killBackend()
            #expect(bench.host.leaks(of: .dom0).mappings.isEmpty)
            bench.startBackend()
            #expect(try bench.read("/local/domain/1/console/tty") == bench.status?.tty)
            bench.exchange("after", with: try bench.open())
        }
        #expect(bench.reports.isEmpty)
    }

    @Test func `the guest's next kernel goes on where the last one left the page`() throws {
        let bench = try ConsoleBench()
        let far = try bench.open()
        bench.exchange("the first kernel", with: far)
        bench.shutDown()
        // The backend serves on, and nobody takes what it brings.
        #expect(bench.status?.isConnected == true)
        far.send([UInt8]("meanwhile".utf8))
        bench.reactor.turn(until: "it is in the ring") { bench.status?.bytesUntaken == 9 }
        bench.boot()
        let expected = [UInt8]("the first kernelmeanwhile".utf8)
        bench.reactor.turn(until: "the next kernel answers") { far.receive().count >= expected.count }
        #expect(far.received == expected)
        bench.exchange(" and on", with: far)
        #expect(bench.status?.ringViolations == 0)
    }

    @Test func `a kernel that died without a word is followed by one on the same page`() throws {
        let bench = try ConsoleBench()
        let far = try bench.open()
        bench.exchange("the first kernel", with: far)
        bench.guest = nil
        bench.boot()
        bench.exchange(" and the second", with: far)
        #expect(bench.status?.statistics.connections == 1)
    }

    @Test func `a console's program is started again when it ends, and the console stays connected`() throws {
        let bench = try ConsoleBench(agent: .program("read line; printf %s \"$line\""))
        let far = try bench.open()
        var expected = ""
        for (round, line) in ["one", "two"].enumerated() {
            far.send([UInt8]("\(line)\n".utf8))
            expected += line
            bench.reactor.turn(until: "\(line) is answered") {
                far.receive().count == expected.utf8.count && bench.reports.count == round + 1
            }
            #expect(String(decoding: far.received, as: UTF8.self) == expected)
        }
        #expect(bench.reports[0].hasPrefix("/local/domain/1/console: 'read line; "), "\(bench.reports[0])")
        #expect(bench.reports[0].contains("' ended with status 0; it is started again in 0.1 seconds"))
        #expect(bench.guest?.channels.first?.statistics.connections == 1)
        #expect(bench.status?.statistics.connections == 1)
        bench.shutDown()
    }

    @Test func `kernels that die without a word leave no watches and no transactions to the next (D24)`() throws {
        let bench = try ConsoleBench()
        let watches = bench.host.store.withLock { $0.server.watchCount }
        for round in 0..<5 {
            let transaction: StoreTransactionID? =
                if case .transaction(let id) = bench.domain.store.perform(.beginTransaction) { id } else { nil }
            bench.guest = nil
            bench.boot()
            bench.reactor.turn(until: "the channel went round") {
                bench.backend?.channels.last?.statistics.connections == UInt64(round) + 2
            }
            bench.awaitConnection()
            #expect(bench.host.store.withLock { $0.server.watchCount } == watches, "round \(round)")
            let end = bench.domain.store.perform(.endTransaction(commit: true), in: try #require(transaction))
            #expect(end == .failure(.noEntry))
        }
        bench.exchange("at last", with: try bench.channel())
    }

    @Test func `another port in the store is bound, and the terminal stays (B5)`() throws {
        let bench = try ConsoleBench()
        let far = try bench.open()
        let tty = try bench.read("/local/domain/1/console/tty")
        bench.exchange("one", with: far)
        bench.shutDown()
        let port = try bench.domain.events.allocateUnbound(for: .dom0)
        bench.domain.primaryConsole?.port = port
        bench.boot()
        let node = try #require(StorePath("/local/domain/1/console/port"))
        let write = StoreRequest.write(node, StoreValue(decimal: port.rawValue))
        #expect(LiveStoreConnection(as: .dom0, to: bench.host).perform(write) == .done)
        bench.reactor.turn(until: "it is bound") { bench.status?.statistics.connections == 2 }
        bench.exchange("two", with: far)
        #expect(try bench.read("/local/domain/1/console/tty") == tty)
        #expect(bench.host.leaks(of: .dom0).mappings.count { $0.reference == .console } == 1)
    }

    @Test func `a page that the guest has wrecked is not served, and the channel beside it is`() throws {
        let bench = try ConsoleBench()
        let channel = try bench.channel()
        bench.killBackend()
        let page = try #require(bench.domain.primaryConsole?.page.memory.page)
        page.storeRelease(0x8000_0000, at: 3084)
        bench.startBackend(connected: 1)
        #expect(bench.status?.isConnected == false)
        #expect(bench.reports.contains { $0.contains("/local/domain/1/console") })
        #expect(bench.host.leaks(of: .dom0).mappings.allSatisfy { $0.reference != .console })
        channel.leave()
        bench.exchange("beside it", with: try bench.channel())
    }

    @Test func `removing a console leaves the channel beside it alone, and nothing mapped`() throws {
        let bench = try ConsoleBench()
        let (console, channel) = (try bench.open(), try bench.channel())
        bench.exchange("one", with: console)
        bench.exchange("two", with: channel)
        try bench.toolstack.remove(.primaryConsole, from: bench.domain.id)
        bench.reactor.turn(until: "it is gone") { bench.status == nil }
        #expect(try bench.read("/local/domain/1/console") == nil)
        // The channel's page alone is still mapped.
        #expect(bench.host.leaks(of: .dom0).mappings.map(\.reference).contains(.console) == false)
        bench.exchange("three", with: channel)
        #expect(bench.backend?.channels.first?.statistics.connections == 1)
        bench.shutDown()
        try bench.toolstack.remove(DeviceID(1), from: bench.domain.id)
        try bench.toolstack.destroy(bench.domain.id)
        bench.reactor.turn(until: "all is let go") { bench.host.leaks().isEmpty }
    }

    @Test func `a daemon for channels only leaves the console to another`() throws {
        let bench = try ConsoleBench(servesConsoles: false)
        #expect(bench.status == nil)
        #expect(try bench.read("/local/domain/1/console/tty") == "")
        bench.exchange("a channel", with: try bench.channel())
        // That other one may run beside it.
        let other = BackendDaemon(of: bench.host.controlDomain, on: bench.reactor, servesPrimaryConsoles: true)
        #expect(other.channels.isEmpty)
    }

    @Test func `a guest without a console has no device 0`() throws {
        let world = try TestWorld(channels: ["connection=socket,path=%/a.sock,name=a"])
        #expect(try world.agents.map(\.device) == [DeviceID(1)])
        try world.stop()
    }

    @Test func `over two threads, much goes there and back beside a channel`() throws {
        let world = try TestWorld(
            channels: ["connection=socket,path=%/a.sock,name=a"],
            console: true,
            onTwoThreads: true
        )
        let tty = try #require(try world.channels.first { $0.device == .primaryConsole }?.tty)
        let console = try Far(opening: tty)
        let channel = try world.connect("a.sock")
        for round in 0..<20 {
            let (some, other) = (pattern(3000, from: round), pattern(5000, from: 7 * round))
            let before = console.received.count
            var sent = 0
            try channel.send(other)
            try world.wait("the console's bytes come back") {
                sent += console.send([UInt8](some[sent...]))
                return console.receive().count >= before + some.count
            }
            #expect([UInt8](console.received[before...]) == some)
            #expect(try channel.receive(5000) == other)
        }
        #expect(try world.stop().isEmpty)
        #expect(world.reports.isEmpty)
    }
}
