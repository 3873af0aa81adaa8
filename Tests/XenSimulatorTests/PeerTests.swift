// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenChannels
import XenExploration
import XenSimulator

/// Every frontend that others wrote, with our backend; every backend, with our frontend; and those that meet in the wild.
struct PeerTests {
    /// Events and watches that come late, repeated and merged, conflicts, stalls and slow clients: what every host knows.
    private static let faults = ["events", "watches", "conflicts", "stalls", "clientSlow"]

    private func expectSuccess(_ scenario: Scenario, cases: Int = 15, seed: UInt64 = 1) throws {
        for faults in [[], PeerTests.faults] {
            let experiment = try #require(Experiment(scenario, faults: faults))
            let failure = experiment.explore(cases: cases, seed: seed, shrinkLimit: 30)
            #expect(failure == nil, "\(scenario.name): \(failure?.description ?? "")")
        }
    }

    private static let channelFrontends = FrontendProfile.all.filter { $0.finding == .directory }.map(\.name)
    private static let channelBackends = BackendProfile.all.filter { $0.service == .devices }.map(\.name)

    private func frontend(_ name: String) throws -> FrontendProfile {
        try #require(FrontendProfile.all.first { $0.name == name })
    }

    /// A row without its known flaw, by which a reader may wait for bytes until the guest says something again.
    private func backend(_ name: String) throws -> BackendProfile {
        var row = try #require(BackendProfile.all.first { $0.name == name })
        row.ring.retriesSink = true
        return row
    }

    @Test(arguments: channelFrontends)
    func `our backend gets on with a frontend (B14, B15, B18 to B21, A21, A26)`(name: String) throws {
        let row = try frontend(name)
        try expectSuccess(
            Scenario("frontend", "our backend with \(name)") { simulation in
                simulation.addGuest([.load, .echo], frontend: row)
                simulation.settle()
            }
        )
    }

    /// 9,000 bytes are eight rings and a part of a ninth: each waits for a poll at most.
    @Test(arguments: channelFrontends)
    func `a frontend that never says that it has read gets all bytes, in bounded time (A21, A22)`(name: String) throws {
        var row = try frontend(name)
        row.ring.afterConsuming = .never
        let plan = ChannelPlan("org.example.silent", agent: .listen, client: .send(9000))
        var longest = Duration.zero
        for seed in 0..<15 as Range<UInt64> {
            let simulation = Simulation(Choices(seed: seed, recording: false))
            simulation.addGuest([plan], frontend: row)
            simulation.settle()
            longest = max(longest, simulation.now)
            simulation.finish()
            #expect(simulation.failure == nil, "seed \(seed)")
        }
        #expect(longest >= RingRelay.roomPollInterval, "nobody had to look again")
        #expect(longest <= RingRelay.roomPollInterval * 9)
    }

    @Test(arguments: channelBackends)
    func `our frontend gets on with a backend (B22, B23, R5, A27)`(name: String) throws {
        let row = try backend(name)
        try expectSuccess(
            Scenario("backend", "our frontend with \(name)", backend: row) { simulation in
                simulation.addGuest([.load, .echo])
                simulation.settle()
            }
        )
    }

    @Test(arguments: ["Linux hvc_xen", "mini-os", "win-xencons"])
    func `a frontend that closes and comes back is served again (B15, B16a, B18, B19, B33, F5)`(name: String) throws {
        let row = try frontend(name)
        try expectSuccess(
            Scenario("return", "\(name) closes and comes back") { simulation in
                let guest = simulation.addGuest([.echo, .load], frontend: row)
                simulation.runForAWhile()
                simulation.close(number: 1, from: guest)
                simulation.settle()
                simulation.open(number: 1, from: guest)
                simulation.settle()
            }
        )
    }

    @Test(arguments: channelBackends)
    func `a backend serves our frontend again when that closes and comes back (B23)`(name: String) throws {
        let row = try backend(name)
        let scenario = Scenario("return", "our frontend closes, and comes back to \(name)", backend: row) {
            simulation in
            simulation.addGuest([.load, .echo])
            simulation.settle()
        }
        let experiment = try #require(Experiment(scenario, faults: ["frontendClose", "events", "watches"]))
        let failure = experiment.explore(cases: 25, seed: 1, shrinkLimit: 30)
        #expect(failure == nil, "\(name): \(failure?.description ?? "")")
    }

    @Test func `xenconsoled takes a console up again when it was killed, and loses nothing of the ring (B7)`() throws {
        try expectSuccess(
            Scenario("again", "xenconsoled is killed and started again", backend: .xenconsoled) { simulation in
                // Towards the guest, a daemon that dies between its index and its notification leaves the guest asleep: nobody tells it later.
                let console = ChannelPlan("console", agent: .send(5000), client: .listen)
                simulation.addGuest([], console: console, frontend: .linuxConsole)
                simulation.runForAWhile()
                simulation.crashBackend()
                simulation.settle()
            }
        )
    }

    /// B14 to B19, B22, B23: what a peer's channel has gone through in the store.
    @Test func `states are written as each row says`() throws {
        let expected: [String: [String]] = [
            "Linux hvc_xen": ["3", "4"], "mini-os": ["4"], "win-xencons": ["4"], "mirage-console": ["4"],
        ]
        for (name, states) in expected {
            let simulation = Simulation(Choices(seed: 5), tracing: true)
            simulation.addGuest([.echo], frontend: try frontend(name))
            simulation.settle()
            let trace = try #require(simulation.trace)
            let written = trace.entries.map(\.text).filter { $0.hasPrefix("write device/console/1/state") }
            #expect(written == states.map { "write device/console/1/state = \"\($0)\"" }, "\(name)")
        }
    }

    @Test(arguments: channelBackends)
    func `Linux and QEMU get on with each other, as they do (R5)`(name: String) throws {
        let row = try backend(name)
        try expectSuccess(
            Scenario("wild", "Linux with \(name)", backend: row) { simulation in
                simulation.addGuest([.load, .echo], frontend: .linux)
                simulation.settle()
            }
        )
    }

    @Test(arguments: ["Linux hvc_xen, console 0", "EDK2"])
    func `a primary console and xenconsoled get on with each other (B1 to B5, A28, A29)`(name: String) throws {
        let row = try frontend(name)
        try expectSuccess(
            Scenario("console", "\(name) with xenconsoled", backend: .xenconsoled) { simulation in
                simulation.addGuest([], console: .load, frontend: row)
                simulation.settle()
            }
        )
    }
}

extension ChannelPlan {
    static let load = ChannelPlan("org.example.load", agent: .send(5000), client: .send(5000))
    static let echo = ChannelPlan("org.example.echo", agent: .echo, client: .send(3000))
}
