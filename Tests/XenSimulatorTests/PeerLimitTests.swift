// SPDX-License-Identifier: MIT

import Testing
import XenBus
import XenChannels
import XenExploration
import XenInterface

@testable import XenSimulator

/// What the backends of others do with the bytes of a guest whose reader does not read (A27, A28, R13, R15).
struct PeerLimitTests {
    private static let limit = 4000
    private static let total = 30_000

    /// How a backend fares: the most that waited, and what the agent had written, when its reader had not read for two seconds.
    private struct Outcome {
        var most = 0
        var written: UInt64 = 0
        var received: UInt64 = 0
        var thrownAway = 0
    }

    private func outcome(with name: String) throws -> Outcome {
        var row = try #require(BackendProfile.all.first { $0.name == name })
        row.ring.retriesSink = true
        let isDaemon = row.service == .primaryConsoles
        var plan = ChannelPlan("org.example.log", agent: .send(PeerLimitTests.total), client: .listen)
        plan.limit = PeerLimitTests.limit
        let simulation = Simulation(Choices(seed: 1), backend: row, tracing: true)
        simulation.addGuest(
            isDaemon ? [] : [plan],
            console: isDaemon ? plan : nil,
            frontend: isDaemon ? .linuxConsole : .linux
        )
        var client: Program? { simulation.guests[0].channels.values.first?.client }
        while client?.pipe == nil, simulation.step() {}
        let record = try #require(simulation.guests[0].channels.values.first)
        let (reader, agent) = (try #require(record.client), try #require(record.agent))
        simulation.world.stall(reader.id, for: .seconds(3))
        let end = simulation.now + .seconds(2)
        var outcome = Outcome()
        while simulation.now < end, simulation.step() { outcome.most = max(outcome.most, record.backend?.backlog ?? 0) }
        outcome.written = agent.sent
        simulation.settle()
        #expect(agent.hasSentAll)
        outcome.received = reader.received
        for entry in try #require(simulation.trace).entries where entry.text.hasPrefix("throws away ") {
            outcome.thrownAway += Int(entry.text.dropFirst("throws away ".count)) ?? 0
        }
        simulation.finish()
        #expect(simulation.failure == nil)
        #expect(Int(outcome.received) + outcome.thrownAway == PeerLimitTests.total)
        return outcome
    }

    @Test func `xenconsoled takes whole rings until as many wait as may, and has the guest wait then`() throws {
        let outcome = try outcome(with: "xenconsoled")
        #expect(outcome.most >= PeerLimitTests.limit && outcome.most < PeerLimitTests.limit + 2048)
        #expect(outcome.written < PeerLimitTests.total && outcome.thrownAway == 0)
    }

    @Test func `xenconsoled that discards lets a quarter more wait, and drops half the limit at a time`() throws {
        let outcome = try outcome(with: "xenconsoled, discard")
        #expect(outcome.most > PeerLimitTests.limit && outcome.most <= PeerLimitTests.limit * 5 / 4)
        #expect(outcome.written == PeerLimitTests.total)
        #expect(outcome.thrownAway > 0 && outcome.thrownAway % (PeerLimitTests.limit / 2) == 0)
    }

    @Test(arguments: ["QEMU", "QEMU 7.2"])
    func `QEMU drops what is beyond the limit, and the guest never waits`(name: String) throws {
        let outcome = try outcome(with: name)
        #expect(outcome.most == PeerLimitTests.limit)
        #expect(outcome.written == PeerLimitTests.total && outcome.thrownAway > 0)
    }

    @Test func `krata's queue is its own, whatever the store says, and the guest never waits`() throws {
        let outcome = try outcome(with: "krata")
        #expect(outcome.most > PeerLimitTests.limit && outcome.most <= 25_600)
        #expect(outcome.written == PeerLimitTests.total)
    }
}
