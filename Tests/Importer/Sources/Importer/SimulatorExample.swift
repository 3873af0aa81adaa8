// SPDX-License-Identifier: MIT

import XenExploration
import XenSimulator

/// A test of a whole host: many seeds, with faults.
func simulatorExample() throws {
    let scenario = Scenario("greeting", "an agent answers while the backend is killed now and then") { simulation in
        simulation.addGuest([ChannelPlan("org.example.agent", agent: .answer, client: .ask(3))])
        simulation.invariants.append { $0.steps > 50_000 ? "this takes too long" : nil }
        simulation.settle()
    }
    guard let experiment = Experiment(scenario, faults: ["events", "watches", "backendCrash"]) else { return }
    let failure = experiment.explore(cases: 20, seed: 1)
    print(failure?.description ?? "it holds")  // what went wrong, and a recipe that repeats it
    precondition(failure == nil)
}
