// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenExploration
import XenSimulator

struct SimulationTests {
    @Test(arguments: Scenario.all.map(\.name))
    func `a scenario passes without faults, whoever goes first`(name: String) throws {
        let scenario = try #require(Scenario.named(name))
        let experiment = try #require(Experiment(scenario))
        let failure = experiment.explore(cases: name == "crowd" ? 2 : 10, seed: 1)
        #expect(failure == nil, "\(failure?.description ?? "")")
    }

    /// Both halves of a thousand, side by side.
    @Test(arguments: [7, 8] as [UInt64])
    func `a thousand seeds of the mixed scenario pass with faults that every host knows`(seed: UInt64) throws {
        let faults = ["events", "watches", "conflicts", "resources", "crashes", "stalls", "clients", "hostile"]
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
}
