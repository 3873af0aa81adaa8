// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenBus
import XenChannels
import XenExploration
import XenHypervisor
import XenInterface

extension ChannelWorld {
    /// Goes on until nothing is left to do, the daemon first; with `timers` until no timer is left either.
    mutating func settle(timers runOut: Bool = false) throws {
        for _ in 0..<5000 {
            let steps = enabled.filter { $0 != .story }
            if let step = steps.last {
                try take(step)
            } else if runOut, let timer = timers.first {
                try take(timer)
            } else {
                return
            }
        }
        throw PropertyViolation("never at rest")
    }

    static func connected() throws -> ChannelWorld {
        var world = try ChannelWorld(story: [], grain: .coarse)
        try world.settle()
        world.happen(.plug)
        try world.settle()
        try world.checkQuiescence()
        try require(world.guest.isConnected, "not connected")
        return world
    }

    mutating func write(_ path: StorePath, _ value: StoreValue) {
        _ = asToolstack(.write(path, value))
        states = readStates()
    }
}

private let frontend = ChannelWorld.paths.frontend
private let backend = ChannelWorld.paths.backend

struct HandshakeOrderTests {
    /// The last component and the side of each write.
    private func names(_ writes: [String]) -> [String] {
        writes.map { line in
            let words = line.split(separator: " ")
            let side = line.contains("/backend/") ? "backend" : "frontend"
            return "\(side) \(words[0].split(separator: "/").last ?? "")"
        }
    }

    @Test func `both sides write in the order of the recorded pty channel (R5, D16, B21)`() throws {
        let lines = try Fixture("lifecycle/watch.log").lines()
        let channel = lines.filter { $0.hasSuffix("/2") || $0.contains("console/2/") || $0.contains("console/1/2/") }
        let creation = try #require(channel.firstIndex(of: "/local/domain/0/backend/console/1/2/connection"))
        // QEMU writes state 1 again before anything else, and at the end the toolstack removes both directories.
        let recorded = names(channel[(creation + 2)...].filter { !$0.hasSuffix("/2") })
        let world = try ChannelWorld.connected()
        #expect(names(world.writes) == recorded)
        #expect(world.value(at: frontend.appending("tty")) == "/dev/pts/1")
        let states = world.writes.filter { $0.contains("state") }.map { String($0.suffix(1)) }
        #expect(states == ["2", "3", "4", "4"])
    }

    @Test func `the backend closes first: 5, the frontend straight to 6, 6 (R6); the frontend waits at 1 for another`()
        throws
    {
        var world = try ChannelWorld.connected()
        world.writes = []
        world.happen(.stopDaemon)
        try world.settle()
        #expect(
            world.writes == [
                "\(backend)/state 5", "\(frontend)/state 6", "\(backend)/state 6", "\(frontend)/ring-ref removed",
                "\(frontend)/port removed", "\(frontend)/state 1",
            ]
        )
        #expect(world.guest.machine?.state == .awaitingReturn)
        #expect(world.hypervisor.leaks().isEmpty)
    }

    @Test func `a backend that is stopped in order and started again finds its frontend (B7, B25)`() throws {
        var world = try ChannelWorld.connected()
        for _ in 0..<3 {
            world.happen(.stopDaemon)
            try world.settle(timers: true)
            #expect(world.daemon == nil)
            world.happen(.startDaemon)
            try world.settle()
            try world.checkQuiescence()
            #expect(world.guest.isConnected)
        }
        world.happen(.closeFrontend)
        try world.settle(timers: true)
        #expect(world.guest.machine == nil)
    }

    /// Written by hand into the backend's node: no unplug, for `online` is 1 (B24).
    @Test func `a backend that is told to close with online 1 does, and connects again (B23)`() throws {
        var world = try ChannelWorld.connected()
        world.writes = []
        world.write(backend.appending("state"), "5")
        try world.settle()
        try world.checkQuiescence()
        let states = world.writes.filter { $0.contains("/state") }.map {
            $0.contains("/backend/") ? "b\($0.suffix(1))" : "f\($0.suffix(1))"
        }
        #expect(states == ["f6", "b6", "f1", "b2", "f3", "b4", "f4"])
    }

    @Test func `state 5 with online 1 at a backend that is closed is answered with 6, and nothing else (B24)`() throws {
        var world = try ChannelWorld.connected()
        world.happen(.closeFrontend)
        try world.settle()
        #expect(world.daemon?.machine?.state == .closed)
        world.writes = []
        world.write(backend.appending("state"), "5")
        try world.settle()
        #expect(world.writes == ["\(backend)/state 6"])
        #expect(world.daemon?.machine?.state == .closed)
        world.happen(.rebootGuest)
        try world.settle()
        #expect(world.guest.isConnected)
    }

    /// The toolstack's transaction is committed when the backend has read its node, and is about to write 4.
    @Test func `an unplug between a look and the write of state 4 is not lost (B24)`() throws {
        var world = try ChannelWorld(story: [], grain: .finest)
        try world.settle()
        world.happen(.plug)
        let node = backend.appending("state")
        for _ in 0..<1000 {
            if case .write(node, "4") = world.daemon?.request?.request { break }
            let steps = world.enabled
            try world.take(try #require(steps.last))
        }
        #expect(world.daemon?.machine?.state == .confirming)
        world.happen(.unplug)
        try world.settle()
        #expect(world.states == ChannelWorld.StatePair(frontend: "6", backend: "6"))
        #expect(world.guest.machine == nil)
        #expect(world.hypervisor.leaks().isEmpty)
    }

    @Test func `the frontend closes first: 5, 5, 6, 6, then its numbers, then the grant (B33, F8)`() throws {
        var world = try ChannelWorld.connected()
        world.writes = []
        world.happen(.closeFrontend)
        try world.settle()
        #expect(
            world.writes == [
                "\(frontend)/state 5", "\(backend)/state 5", "\(frontend)/state 6", "\(backend)/state 6",
                "\(frontend)/ring-ref removed", "\(frontend)/port removed",
            ]
        )
        #expect(world.deferred.isEmpty)
        #expect(world.hypervisor.leaks().isEmpty)
    }

    @Test func `an unplug is answered with 6, at any time, and nothing is written into removed directories (B24, R7)`()
        throws
    {
        var world = try ChannelWorld.connected()
        world.writes = []
        world.happen(.unplug)
        try world.settle()
        #expect(world.writes.prefix(2) == ["\(frontend)/state 6", "\(backend)/state 6"])
        world.write(backend.appending("state"), "5")
        try world.settle()
        #expect(world.states.backend == "6")
        world.happen(.remove)
        try world.settle()
        try world.checkQuiescence()
        #expect(world.daemon?.machine == nil)
    }

    @Test func `a guest that publishes anew while it is connected is attached anew (B16, B23)`() throws {
        var world = try ChannelWorld.connected()
        let old = world.daemon?.attachment
        let guest = ChannelWorld.guestDomain
        let grant = try world.hypervisor.grantAccess(to: .dom0, frame: FrameNumber(99), readOnly: false, of: guest)
        let port = try world.hypervisor.allocateUnbound(in: guest, for: .dom0)
        world.write(frontend.appending("ring-ref"), StoreValue(decimal: grant.rawValue))
        world.write(frontend.appending("port"), StoreValue(decimal: port.rawValue))
        world.write(frontend.appending("state"), "3")
        try world.settle()
        #expect(world.daemon?.attachment?.ring == grant)
        #expect(world.daemon?.attachment?.port == port)
        #expect(world.daemon?.attachment != old)
        #expect(world.states.backend == "4")
        #expect(world.hypervisor.leaks(of: .dom0).mappings.count == 1)
    }

    @Test func `a kernel that boots over a connected channel leads it back: 5, 6, 1, then the normal way (B16a)`()
        throws
    {
        var world = try ChannelWorld.connected()
        world.writes = []
        world.happen(.rebootGuest)
        try world.settle()
        let states = world.writes.filter { $0.contains("/state") }.map {
            $0.contains("/backend/") ? "b\($0.suffix(1))" : "f\($0.suffix(1))"
        }
        #expect(states == ["f5", "b5", "f6", "b6", "f1", "b2", "f3", "b4", "f4"])
        #expect(world.guest.isConnected)
    }

    @Test func `a backend that was killed serves a frontend that never noticed (B7, B25)`() throws {
        var world = try ChannelWorld.connected()
        let grant = world.guest.grant
        world.happen(.restartDaemon)
        try world.settle()
        try world.checkQuiescence()
        #expect(world.guest.isConnected)
        #expect(world.guest.grant == grant)
    }

    @Test func `a peer that does not follow is waited for so long, and no longer`() throws {
        var world = try ChannelWorld.connected()
        world.killDaemon()
        world.happen(.closeFrontend)
        try world.settle(timers: true)
        #expect(world.guest.machine == nil)
        #expect(world.guest.reports.map(\.problem) == [.noAnswer(to: .closing), .noAnswer(to: .closed)])
        #expect(world.states.frontend == "6")
    }

    @Test func `nodes that are written one by one are served once they are complete (R8, B34)`() throws {
        var world = try ChannelWorld.connected()
        let nodes =
            ["backend", "backend-id", "name", "limit", "state"].map { frontend.appending($0) }
            + ["frontend", "frontend-id", "online", "connection", "state"].map { backend.appending($0) }
        var values = nodes.map { world.value(at: $0) }
        values[4] = "1"
        values[9] = "1"
        world.happen(.remove)
        try world.settle()
        for (node, value) in zip(nodes, values) {
            world.write(node, try #require(value))
            try world.settle()
        }
        let permissions = StorePermissions(owner: .dom0, others: .both, [])
        for node in [frontend, frontend.appending("state"), backend.appending("state")] {
            _ = world.asToolstack(.setPermissions(node, permissions))
        }
        world.happen(.rebootGuest)
        try world.settle()
        let isConnected = world.guest.isConnected
        #expect(isConnected, "\(world.guest.reports) \(world.guest.machine?.state as Any) \(world.states)")
    }
}

extension ChannelWorld {
    /// As `value(_:)`, on a copy: where nothing may change.
    func value(at path: StorePath) -> StoreValue? {
        var copy = self
        return copy.value(path)
    }
}

/// What the other side may write, and what is made of it.
struct HostileNodeTests {
    private static let numbers: [StoreValue] = [
        "", "0", "-1", "+8", " 8", "8 ", "0x8", "8a", "4294967296", "99999999999999999999999999",
        StoreValue([0xFF, 0x00]),
        "1.5", "\u{661}",
    ]

    @Test(arguments: ["ring-ref", "port"], numbers)
    func `a bad number of the guest's is named, answered with 5 and 6, and healed by another life (B23, B34)`(
        name: String,
        value: StoreValue
    ) throws {
        var world = try ChannelWorld.connected()
        world.killDaemon()
        world.write(frontend.appending(name), value)
        world.startDaemon()
        try world.settle()
        let daemon = try #require(world.daemon)
        let wanted = name == "port" ? "a port above 0" : "a grant reference above 0"
        let diagnostic = DeviceDiagnostic(frontend.appending(name), .unexpected(value, wanted: wanted))
        #expect(daemon.reports == [diagnostic])
        #expect(world.writes.contains("\(backend)/state 5"))
        // The frontend had been connected: it begins anew by itself.
        try world.checkQuiescence()
        #expect(world.guest.isConnected)
    }

    @Test(arguments: ["ring-ref", "port"])
    func `a number that is not there is not there yet (B34)`(name: String) throws {
        var world = try ChannelWorld.connected()
        world.killDaemon()
        let old = try #require(world.value(at: frontend.appending(name)))
        _ = world.asToolstack(.remove(frontend.appending(name)))
        world.startDaemon()
        try world.settle()
        let missing = DeviceDiagnostic(frontend.appending(name), .missing)
        #expect(world.daemon.map { Set($0.reports) } == [missing])
        #expect(world.states.backend == "2")
        world.write(frontend.appending(name), old)
        world.write(frontend.appending("state"), "4")
        try world.settle()
        #expect(world.daemon?.machine?.state == .connected)
    }

    @Test(arguments: [
        ("frontend", "/local/domain/2/device/console/1", "/local/domain/1/device/console/1"), ("frontend-id", "2", "1"),
        ("frontend-id", "", "1"), ("online", "yes", "1"), ("state", "x", "a state from 0 to 8"),
        ("state", "9", "a state from 0 to 8"), ("connection", "tcp", "pty or socket"),
    ])
    func `a wrong node of the backend's own is named, and served once it is corrected`(
        name: String,
        value: String,
        wanted: String
    ) throws {
        var world = try ChannelWorld.connected()
        let old = try #require(world.value(at: backend.appending(name)))
        world.killDaemon()
        world.write(backend.appending(name), StoreValue(value))
        world.startDaemon()
        try world.settle()
        let node = backend.appending(name)
        #expect(world.daemon?.reports == [DeviceDiagnostic(node, .unexpected(StoreValue(value), wanted: wanted))])
        #expect(world.daemon?.machine?.state == .refused)
        world.write(node, old)
        try world.settle()
        try world.checkQuiescence()
        #expect(world.guest.isConnected)
    }

    @Test(arguments: [
        ("backend", "relative/path", "an absolute path"), ("backend", "//", "an absolute path"),
        ("backend", "@releaseDomain", "an absolute path"), ("backend-id", "-1", "a domain's number"),
        ("backend-id", "32752", "a domain's number"), ("backend-id", "65536", "a domain's number"),
        ("state", "0", "a state from 1 to 8"), ("state", "", "a state from 1 to 8"),
    ])
    func `a wrong node of the frontend's own is named, and served once it is corrected`(
        name: String,
        value: String,
        wanted: String
    ) throws {
        var world = try ChannelWorld.connected()
        let node = frontend.appending(name)
        let old = try #require(world.value(at: node))
        world.write(node, StoreValue(value))
        world.happen(.rebootGuest)
        try world.settle()
        #expect(world.guest.reports == [DeviceDiagnostic(node, .unexpected(StoreValue(value), wanted: wanted))])
        #expect(world.guest.machine?.state == .refused)
        world.write(node, old)
        try world.settle()
        #expect(world.guest.isConnected)
    }

    @Test(arguments: ["x", "", "9", "-4", "44"])
    func `a state of the peer's that is none is reported and passed over (B35)`(value: String) throws {
        var world = try ChannelWorld.connected()
        world.write(frontend.appending("state"), StoreValue(value))
        world.write(backend.appending("state"), StoreValue(value))
        try world.settle()
        let wanted = "a state from 0 to 8"
        let problem = DeviceDiagnostic.Problem.unexpected(StoreValue(value), wanted: wanted)
        #expect(world.daemon?.reports == [DeviceDiagnostic(frontend.appending("state"), problem)])
        #expect(world.guest.reports == [DeviceDiagnostic(backend.appending("state"), problem)])
        #expect(world.guest.isConnected)
        #expect(world.daemon?.machine?.state == .connected)
    }

    @Test func `a peer that writes nonsense again and again fills no log (A34)`() throws {
        var world = try ChannelWorld.connected()
        for number in 0..<100 {
            world.write(frontend.appending("state"), StoreValue("nonsense \(number)"))
            world.write(backend.appending("state"), StoreValue("nonsense \(number)"))
            try world.settle()
        }
        #expect(world.daemon?.reports.count == 11)
        #expect(world.guest.reports.count == 11)
        #expect(world.guest.isConnected && world.daemon?.machine?.state == .connected)
    }

    @Test func `a page that was not granted, and a port that is another's, are refused (F3, E2)`() throws {
        for name in ["ring-ref", "port"] {
            var world = try ChannelWorld.connected()
            world.killDaemon()
            world.write(frontend.appending(name), "300")
            world.startDaemon()
            try world.settle()
            #expect(world.daemon?.reports.count == 1)
            #expect(world.writes.suffix(20).contains("\(backend)/state 6"))
            // With the frontend's new numbers all is well.
            try world.checkQuiescence()
            #expect(world.guest.isConnected)
        }
    }
}
