// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenBus
import XenExploration
import XenSimulator

struct SimulationTests {
    @Test(arguments: Scenario.all.map(\.name).filter { $0 != "thousand" })
    func `a scenario passes without faults, whoever goes first`(name: String) throws {
        let scenario = try #require(Scenario.named(name))
        let experiment = try #require(Experiment(scenario))
        let failure = experiment.explore(cases: name == "crowd" ? 2 : 10, seed: 1)
        #expect(failure == nil, "\(failure?.description ?? "")")
    }

    /// Both halves of a thousand, side by side.
    @Test(arguments: [7, 8] as [UInt64])
    func `a thousand seeds of the mixed scenario pass with faults that every host knows`(seed: UInt64) throws {
        let faults = ["all"]
        let experiment = try #require(Experiment(.mixed, faults: faults))
        let failure = experiment.explore(cases: 500, seed: seed, shrinkLimit: 20)
        #expect(failure == nil, "\(failure?.description ?? "")")
    }

    @Test func `the same choices make the same trace`() throws {
        let experiment = try #require(Experiment(.mixed, faults: ["events", "crashes", "clients"]))
        let first = experiment.run(Choices(seed: 11), tracing: true)
        let second = experiment.run(Choices(replaying: first.choices.values), tracing: true)
        let trace = try #require(first.trace)
        #expect(trace.entries.count > 500)
        #expect(try Trace.difference(trace, #require(second.trace)) == nil)
        let other = experiment.run(Choices(seed: 12), tracing: true)
        #expect(try Trace.difference(trace, #require(other.trace)) != nil)
    }

    @Test func `an importer sees the channels and the store, and adds rules of his own`() {
        let simulation = Simulation(Choices(seed: 3))
        simulation.addGuest([ChannelPlan("org.example.agent", agent: .echo, client: .send(5000))])
        var fullest = 0
        simulation.invariants.append { simulation in
            let count = simulation.channels.first?.bytesInInputRing ?? 0
            fullest = max(fullest, count)
            return count > 1024 ? "more than the ring holds" : nil
        }
        simulation.settle()
        #expect(simulation.failure == nil)
        #expect(fullest == 1024)
        let channel = simulation.channels.first
        #expect(channel?.frontend == .connected && channel?.backend == .connected)
        #expect(channel?.client.received == 5000)
        #expect(simulation.storeListing.contains("/local/domain/1/device/console/1/state = \"4\""))
        simulation.invariants.append { _ in "never mind" }
        simulation.finish()
        #expect(simulation.failure == "never mind")
    }
}
