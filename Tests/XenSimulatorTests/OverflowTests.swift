// SPDX-License-Identifier: MIT

import Testing
import XenBus
import XenChannels
import XenExploration
import XenInterface

@testable import XenSimulator

/// What becomes of a guest's bytes when nobody takes them, in virtual time (A27, A28, R13, R15).
struct OverflowTests {
    private static let policies: [OverflowPolicy] = [
        .standard, .blockForever, .dropMiddle(.xenconsoled), .dropMiddle(.qemu), .disconnect,
        .block(deadline: .milliseconds(50), then: .disconnect),
        .block(deadline: .seconds(1), then: .dropMiddle(.qemu)),
    ]

    private static func plan(_ policy: OverflowPolicy, limit: Int, sends count: Int = 9000) -> ChannelPlan {
        var plan = ChannelPlan("org.example.log", agent: .send(count), client: .listen)
        plan.overflow = policy
        plan.limit = limit
        return plan
    }

    /// The rule of the counts holds in every world (`checkCounts`); here are worlds in which much is lost.
    @Test func `counters are exact: what came in went out, waits, or was counted as lost`() throws {
        let scenario = Scenario("overflow", "readers that do not read") { simulation in
            simulation.stepLimit = 1_000_000
            for _ in 0..<2 {
                let policy = simulation.world.chance.choices.pick(from: OverflowTests.policies)
                let limit = simulation.world.chance.choices.pick(from: [20, 100, 2048, 5000])
                let plan = OverflowTests.plan(policy, limit: limit)
                let isConsole = simulation.world.chance.choices.bool()
                simulation.addGuest(isConsole ? [] : [plan], console: isConsole ? plan : nil)
            }
            simulation.settle()
            for guest in simulation.guests {
                for record in guest.channels.values {
                    OverflowTests.check(record, simulation)
                }
            }
        }
        var dropped: UInt64 = 0
        for faults in [
            ["clientSlow"], ["clientVanish", "clientSlow", "events"], ["backendCrash", "clients", "stalls"],
        ] {
            let experiment = try #require(Experiment(scenario, faults: faults))
            let failure = experiment.explore(cases: 30, seed: 1, shrinkLimit: 10)
            #expect(failure == nil, "\(faults): \(failure?.description ?? "")")
            for seed in 0..<10 as Range<UInt64> {
                let simulation = Simulation(Choices(seed: seed), faults: experiment.plan)
                scenario.body(simulation)
                for record in simulation.guests.flatMap(\.channels.values) {
                    dropped += (record.backend as? BackendDevice)?.pump.relay.statistics.bytesDropped ?? 0
                }
            }
        }
        #expect(dropped > 0, "nothing was dropped in these worlds")
    }

    private static func check(_ record: ChannelRecord, _ simulation: Simulation) {
        guard let backend = record.backend as? BackendDevice, let agent = record.agent else { return }
        // Every client comes back, and the agents wait for nobody else.
        if !agent.hasSentAll { simulation.fail("an agent still waits, with \(record.plan.overflow)") }
        let statistics = backend.pump.relay.statistics
        if statistics.overflows == 0, statistics.bytesDropped > 0 { simulation.fail("a drop without an overflow") }
        guard case .block(nil, _) = record.plan.overflow else { return }
        if statistics.overflows > 0 { simulation.fail("who blocks for ever has dropped") }
    }

    /// A world in which a client stops reading once it is connected, for so long.
    private func stalled(_ plan: ChannelPlan, for time: Duration) -> (Simulation, ChannelRecord?) {
        let simulation = Simulation(Choices(seed: 1), tracing: true)
        simulation.addGuest([plan])
        while simulation.guests[0].channels.values.first?.client?.pipe == nil, simulation.step() {}
        let record = simulation.guests[0].channels.values.first
        if let client = record?.client { simulation.world.stall(client.id, for: time) }
        return (simulation, record)
    }

    @Test func `a deadline passes at its time, and not before; then all that comes has its place (R13)`() throws {
        let (simulation, record) = stalled(OverflowTests.plan(.standard, limit: 1000, sends: 30_000), for: .seconds(60))
        simulation.settle()
        simulation.finish()
        #expect(simulation.failure == nil)
        let channel = try #require(record)
        let entries = try #require(simulation.trace?.entries)
        let drops = entries.filter { $0.text.hasPrefix("drops ") }
        let first = try #require(drops.first)
        let before = try #require(entries.last { $0.text.hasPrefix("hands out") && $0.time < first.time })
        #expect(first.time == before.time + .seconds(5))
        // From then on nobody waits: the whole rest is taken at that time.
        let taken = drops.reduce(0) { $0 + (Int($1.text.dropFirst("drops ".count)) ?? 0) }
        #expect(drops.allSatisfy { $0.time == first.time })
        #expect(channel.agent?.sent == 30_000)
        #expect(channel.lostFromGuest == UInt64(taken))
        #expect(channel.overflowsTold == 1)
    }

    @Test func `a reader that is slow, and takes a byte now and then, loses none`() throws {
        let (simulation, record) = stalled(OverflowTests.plan(.standard, limit: 1000, sends: 30_000), for: .seconds(4))
        let client = try #require(record?.client)
        while simulation.step() {
            guard client.received < 30_000, client.pipe?.outward.isEmpty == true else { continue }
            simulation.world.stall(client.id, for: .seconds(4))
        }
        #expect(simulation.now > .seconds(20))
        #expect(record?.lostFromGuest == 0 && client.received == 30_000)
        simulation.finish()
        #expect(simulation.failure == nil)
    }

    @Test func `who is disconnected for not reading comes back to what comes then, and every attachment tells once`()
        throws
    {
        let plan = OverflowTests.plan(.block(deadline: .seconds(1), then: .disconnect), limit: 500, sends: 20_000)
        let (simulation, record) = stalled(plan, for: .seconds(60))
        simulation.settle()
        let channel = try #require(record)
        #expect(channel.client?.pipe != nil, "it is connected again")
        #expect(channel.overflowsTold == 1)
        let received = try #require(channel.client?.received)
        channel.agent?.flood(700)
        simulation.settle()
        #expect(channel.client?.received == received + 700)
        // The next attachment tells again.
        simulation.crashBackend()
        simulation.settle()
        if let client = channel.client { simulation.world.stall(client.id, for: .seconds(60)) }
        channel.agent?.flood(20_000)
        simulation.settle()
        #expect(channel.overflowsTold == 2)
        simulation.finish()
        #expect(simulation.failure == nil)
    }

    @Test func `the limit is the store's (A28, B4)`() throws {
        for limit in [1, 300, 5000] {
            let plan = OverflowTests.plan(.blockForever, limit: limit, sends: 30_000)
            let (simulation, record) = stalled(plan, for: .seconds(60))
            var most = 0
            while simulation.step() { most = max(most, record?.backend?.backlog ?? 0) }
            #expect(most == limit)
            simulation.finish()
            #expect(simulation.failure == nil)
        }
    }
}
