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
}
