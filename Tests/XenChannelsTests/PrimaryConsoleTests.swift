// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenBus
import XenChannels
import XenExploration
import XenHypervisor
import XenInterface
import XenStore

private let guest = DomainID(1)
private let paths = DevicePaths(frontend: guest, backend: .dom0, device: .primaryConsole)
private let console = paths.frontend

/// A guest's primary console as the domain builder and the toolstack leave it, and a daemon that serves it.
private struct ConsoleHost {
    let host = StoreHost()
    var hypervisor = Hypervisor()
    var store: HostedStoreConnection
    var machine: PrimaryConsoleBackend?
    var port: EventChannelPort?
    var mapping: GrantMapping?
    var isOpen = false
    var ttys = 0
    var log: [String] = []
    var reports: [DeviceDiagnostic] = []

    init(type: String = "xenconsoled") throws {
        store = host.connect(as: .dom0)
        try hypervisor.createDomain(guest)
        hypervisor.seedGrant(.console, of: guest, to: .dom0, frame: FrameNumber(77))
        let offered = try hypervisor.allocateUnbound(in: guest, for: .dom0)
        let console = PrimaryConsole(port: offered, frame: FrameNumber(77), type: type)
        var script = StoreScript(console.creation(in: guest), transaction: true)
        _ = try script.run(on: &store)
    }

    mutating func start() {
        store = host.connect(as: .dom0)
        machine = PrimaryConsoleBackend(paths: paths, token: "console")
        give(.start)
        settle()
    }

    /// The process ends: the kernel unmaps and unbinds.
    mutating func kill() {
        detach()
        machine = nil
        isOpen = false
    }

    mutating func write(_ name: String, _ value: StoreValue) {
        _ = store.perform(.write(console.appending(name), value), in: .none)
        settle()
    }

    func value(_ name: String) -> StoreValue? {
        let reader = host.connect(as: .dom0)
        return reader.perform(.read(console.appending(name)), in: .none).nodeValue
    }

    mutating func settle() {
        while let event = store.nextWatchEvent() {
            if event.token == "console" { give(.frontendChanged) }
        }
    }

    mutating func give(_ event: PrimaryConsoleBackend.Event) {
        var events = [event]
        while !events.isEmpty {
            guard let actions = machine?.handle(events.removeFirst()) else { return }
            for action in actions {
                if let answer = carryOut(action) { events.append(answer) }
            }
        }
    }

    private mutating func carryOut(_ action: PrimaryConsoleBackend.Action) -> PrimaryConsoleBackend.Event? {
        switch action {
        case .store(let request, let transaction):
            if case .write(let path, let value) = request { log.append("\(path.lastComponent) \(value.text)") }
            return .reply(store.perform(request, in: transaction))
        case .open(let connection, _):
            #expect(connection == .pty)
            isOpen = true
            ttys += 1
            log.append("open")
            return .opened(tty: "/dev/pts/\(ttys)")
        case .attach(let attachment):
            log.append("attach \(attachment.ring) \(attachment.port) \(attachment.limit)")
            return attach(attachment)
        case .detach:
            log.append("detach")
            detach()
            return .detached
        case .closeEndpoint: isOpen = false
        case .report(let diagnostic): reports.append(diagnostic)
        case .finished: machine = nil
        case .startTimer, .stopTimer: Issue.record("a console waits for no time")
        }
        return nil
    }

    private mutating func attach(_ attachment: ChannelAttachment) -> PrimaryConsoleBackend.Event {
        do {
            mapping = try hypervisor.map(attachment.ring, of: attachment.frontend, readOnly: false, by: .dom0)
            port = try hypervisor.bindInterdomain(in: .dom0, remote: attachment.frontend, port: attachment.port)
            return .attached
        } catch {
            detach()
            return .failed("\(error)")
        }
    }

    private mutating func detach() {
        if let port { try? hypervisor.close(port, of: .dom0) }
        if let mapping { _ = try? hypervisor.unmap(mapping, by: .dom0) }
        port = nil
        mapping = nil
    }

    var isServing: Bool { machine?.state == .serving && port != nil && mapping != nil && isOpen }
}

struct PrimaryConsoleTests {
    @Test func `the daemon binds the toolstack's port, maps the reserved grant, opens a pty and tells it (B2 to B5)`()
        throws
    {
        var world = try ConsoleHost()
        world.start()
        #expect(world.isServing)
        #expect(world.log == ["attach 0 1 1048576", "open", "tty /dev/pts/1"])
        #expect(world.value("tty") == "/dev/pts/1")
        // No states, on either side (B4): that of the backend stays what libxl wrote.
        #expect(world.value("state") == nil)
        #expect(world.store.perform(.read(paths.backend.appending("state")), in: .none) == .value("1"))
    }

    @Test func `the guest can write nothing of its console's but backend-id (B4, XSA-57)`() throws {
        let world = try ConsoleHost()
        let inside = world.host.connect(as: guest)
        for name in ["tty", "limit", "type", "output", "port", "ring-ref", "backend"] {
            let reply = inside.perform(.write(console.appending(name), "mine"), in: .none)
            #expect(reply == .failure(.accessDenied), "\(name)")
        }
        #expect(inside.perform(.write(console.appending("backend-id"), "0"), in: .none) == .done)
    }

    @Test func `another daemon's console is left alone, and taken up when it is ours (B5)`() throws {
        var world = try ConsoleHost(type: "ioemu")
        world.start()
        #expect(world.log.isEmpty && world.machine?.state == .waiting)
        world.write("type", "xenconsoled")
        #expect(world.isServing)
    }

    @Test(arguments: ["ring-ref", "port"])
    func `a number that is missing is waited for, and one that goes missing changes nothing (B5)`(name: String) throws {
        var world = try ConsoleHost()
        let value = try #require(world.value(name))
        _ = world.store.perform(.remove(console.appending(name)), in: .none)
        world.start()
        #expect(world.log.isEmpty && world.reports.isEmpty)
        world.write(name, value)
        #expect(world.isServing)
        _ = world.store.perform(.remove(console.appending(name)), in: .none)
        world.settle()
        #expect(world.isServing)
    }

    @Test func `numbers that change are bound anew, and the pty is kept (B5)`() throws {
        var world = try ConsoleHost()
        world.start()
        world.log = []
        world.write("limit", "9")
        #expect(world.log.isEmpty)
        let port = try world.hypervisor.allocateUnbound(in: guest, for: .dom0)
        world.write("port", StoreValue(decimal: port.rawValue))
        #expect(world.log == ["detach", "attach 0 \(port) 9"])
        world.log = []
        world.write("ring-ref", "78")
        #expect(world.log == ["detach", "attach 0 \(port) 9"])
        #expect(world.isServing && world.ttys == 1 && world.value("tty") == "/dev/pts/1")
    }

    @Test func `a daemon that was killed binds the same port again, and tells its new pty (B7)`() throws {
        var world = try ConsoleHost()
        world.start()
        world.kill()
        world.start()
        #expect(world.isServing)
        #expect(world.value("tty") == "/dev/pts/2")
    }

    @Test func `a daemon that ends in order, or whose console is gone, leaves nothing behind`() throws {
        for isGone in [false, true] {
            var world = try ConsoleHost()
            world.start()
            if isGone {
                _ = world.store.perform(.remove(paths.backend), in: .none)
                world.give(.ownChanged(.other))
            } else {
                world.give(.close)
            }
            #expect(world.machine == nil && !world.isOpen && world.port == nil && world.mapping == nil)
            #expect(world.host.server.watchCount == 0)
            // The node stays, as xenconsoled leaves it: a client sees that its pty hangs up (B8).
            #expect(world.value("tty") == "/dev/pts/1")
        }
    }

    @Test(arguments: [("port", "0"), ("port", "x"), ("ring-ref", "-1"), ("ring-ref", ""), ("port", "4294967296")])
    func `a number that is none is named, and what is attached is kept (B34)`(name: String, value: String) throws {
        var world = try ConsoleHost()
        world.start()
        world.write(name, StoreValue(value))
        #expect(world.reports.map(\.node) == [console.appending(name)])
        #expect(world.isServing)
    }

    @Test func `a port that cannot be bound is reported, and a later one is served`() throws {
        var world = try ConsoleHost()
        let port = try #require(world.value("port"))
        world.write("port", "300")
        world.start()
        #expect(world.reports.count == 1 && world.machine?.state == .waiting)
        #expect(world.hypervisor.leaks(of: .dom0).isEmpty)
        world.write("port", port)
        #expect(world.isServing)
    }

    @Test func `a removed console is not made anew by a late tty (D16)`() throws {
        var machine = PrimaryConsoleBackend(paths: paths, token: "t")
        _ = machine.handle(.start)
        _ = machine.handle(.reply(.done))
        _ = machine.handle(.frontendChanged)
        for value in ["77", "1", "xenconsoled", "9"] as [StoreValue] { _ = machine.handle(.reply(.value(value))) }
        #expect(machine.handle(.attached) == [.open(.pty, name: nil)])
        _ = machine.handle(.opened(tty: "/dev/pts/1"))
        let one = StoreTransactionID(rawValue: 1)
        #expect(machine.handle(.reply(.transaction(one))) == [.store(.read(console), in: one)])
        #expect(machine.handle(.reply(.failure(.noEntry))) == [.store(.endTransaction(commit: false), in: one)])
    }

    /// A machine that serves, or that has got as far as to open its pty.
    private func machine(opened: Bool) -> PrimaryConsoleBackend {
        var machine = PrimaryConsoleBackend(paths: paths, token: "t")
        _ = machine.handle(.start)
        _ = machine.handle(.reply(.done))
        _ = machine.handle(.frontendChanged)
        for value in ["77", "1", "xenconsoled", "9"] as [StoreValue] { _ = machine.handle(.reply(.value(value))) }
        _ = machine.handle(.attached)
        guard opened else { return machine }
        _ = machine.handle(.opened(tty: nil))
        return machine
    }

    @Test func `a daemon that is to end while it lets go of a ring takes no other`() {
        var machine = machine(opened: true)
        _ = machine.handle(.frontendChanged)
        for value in ["77", "2", "xenconsoled"] as [StoreValue] { _ = machine.handle(.reply(.value(value))) }
        #expect(machine.handle(.reply(.value("9"))) == [.detach])
        #expect(machine.handle(.close) == [])
        #expect(machine.handle(.detached).first == .closeEndpoint)
        #expect(machine.state == .retracting)
    }

    @Test func `a pty that cannot be opened lets go of the ring; a change tries again`() {
        var machine = machine(opened: false)
        let report = PrimaryConsoleBackend.Action.report(DeviceDiagnostic(console, .service("no pty")))
        #expect(machine.handle(.failed("no pty")) == [report, .detach])
        #expect(machine.handle(.detached) == [] && machine.state == .waiting)
        _ = machine.handle(.frontendChanged)
        for value in ["77", "1", "xenconsoled"] as [StoreValue] { _ = machine.handle(.reply(.value(value))) }
        guard case .attach? = machine.handle(.reply(.value("9"))).first else {
            Issue.record("not attached again")
            return
        }
    }

    @Test func `numbers that could not be attached are tried again at the next change, though they are the same`() {
        var machine = PrimaryConsoleBackend(paths: paths, token: "t")
        _ = machine.handle(.start)
        _ = machine.handle(.reply(.done))
        for _ in 0..<3 {
            _ = machine.handle(.frontendChanged)
            for value in ["77", "1", "xenconsoled"] as [StoreValue] { _ = machine.handle(.reply(.value(value))) }
            guard case .attach? = machine.handle(.reply(.value("9"))).first else {
                Issue.record("not attached")
                return
            }
            _ = machine.handle(.failed("the port is not bound"))
            #expect(machine.state == .waiting)
        }
    }

    @Test func `a store that takes no tty leaves the console served; one that takes no watch leaves nothing to serve`()
    {
        var serving = machine(opened: false)
        _ = serving.handle(.opened(tty: "/dev/pts/1"))
        let refused = PrimaryConsoleBackend.Action.report(DeviceDiagnostic(paths.frontend, .refused(.quota)))
        #expect(serving.handle(.reply(.failure(.quota))) == [refused] && serving.state == .serving)
        var blind = PrimaryConsoleBackend(paths: paths, token: "t")
        _ = blind.handle(.start)
        #expect(blind.handle(.reply(.failure(.quota))) == [refused, .finished])
    }

    @Test func `a guest that writes nonsense again and again fills no log (A34)`() throws {
        var world = try ConsoleHost()
        world.start()
        for number in 0..<100 { world.write("ring-ref", StoreValue("nonsense \(number)")) }
        #expect(world.reports.count == 11 && world.isServing)
    }

    @Test func `a frontend that is to close before it is connected, or whose console is removed, ends`() {
        var early = PrimaryConsoleFrontend(of: guest)
        _ = early.handle(.start)
        #expect(early.handle(.close) == [])
        #expect(early.handle(.prepared(.console, EventChannelPort(2))) == [.connected, .disconnected, .release])
        var removed = PrimaryConsoleFrontend(of: guest)
        _ = removed.handle(.start)
        _ = removed.handle(.prepared(.console, EventChannelPort(2)))
        #expect(removed.handle(.removed) == [.disconnected, .release])
    }

    @Test func `the frontend asks nothing of the store, and is connected with what it finds (B1, B3)`() {
        var machine = PrimaryConsoleFrontend(of: guest)
        #expect(machine.handle(.start) == [.prepare(backend: .dom0, name: nil)])
        #expect(machine.handle(.prepared(.console, EventChannelPort(2))) == [.connected])
        for event in [.backendChanged, .ownChanged(.other), .timeout, .reply(.done)] as [PrimaryConsoleFrontend.Event] {
            #expect(machine.handle(event) == [])
        }
        #expect(machine.handle(.close) == [.disconnected, .release])
        #expect(machine.handle(.released) == [.finished])
        var absent = PrimaryConsoleFrontend(of: guest)
        _ = absent.handle(.start)
        #expect(absent.handle(.failed("no console")).last == .finished)
    }

    @Test func `no event in any state traps the daemon's machine, or makes it ask for what makes no sense`() {
        checkProperty(cases: 300) { choices in
            var machine = PrimaryConsoleBackend(paths: paths, token: "t")
            var isPending = false, isAttached = false, isOpen = false
            for _ in 0..<choices.choose(below: 120) {
                let event = anyEvent(&choices, isPending: isPending)
                if case .reply = event { isPending = false }
                if case .opened = event, machine.state == .opening { isOpen = true }
                if case .failed = event, machine.state == .attaching { isAttached = false }
                if case .detached = event, machine.state == .detaching { isAttached = false }
                for action in machine.handle(event) {
                    switch action {
                    case .store:
                        try require(!isPending, "two requests at a time")
                        isPending = true
                    case .attach:
                        try require(!isAttached, "attached twice")
                        isAttached = true
                    case .detach: try require(isAttached, "detached twice")
                    case .open: try require(!isOpen, "opened twice")
                    case .closeEndpoint:
                        try require(isOpen, "closed twice")
                        isOpen = false
                    case .finished: try require(!isAttached && !isOpen && !isPending, "ended with something open")
                    case .report, .startTimer, .stopTimer: break
                    }
                }
            }
        }
    }

    private func anyEvent(_ choices: inout Choices, isPending: Bool) -> PrimaryConsoleBackend.Event {
        if isPending, choices.bool() {
            let values: [StoreValue] = ["1", "77", "xenconsoled", "ioemu", "", "-1"]
            switch choices.index(weights: [4, 6, 2, 1]) {
            case 0: return .reply(.done)
            case 1: return .reply(.value(choices.pick(from: values)))
            case 2: return .reply(.transaction(StoreTransactionID(rawValue: 1)))
            default: return .reply(.failure(choices.pick(from: StoreErrorCode.allCases)))
            }
        }
        let events: [PrimaryConsoleBackend.Event] = [
            .start, .frontendChanged, .ownChanged(.other), .opened(tty: "/dev/pts/1"), .attached, .detached,
            .failed("no"), .timeout,
        ]
        return choices.chance(1, in: 40) ? .close : choices.pick(from: events)
    }
}
