// SPDX-License-Identifier: MIT

import Testing
import XenExploration
import XenSimulator

struct MutantTests {
    /// Everything that can happen to one channel and its neighbour, in few steps.
    static let life = Scenario("life", "channels come, exchange, close and go") { simulation in
        let guest = simulation.addGuest([
            ChannelPlan("org.example.a", agent: .send(3000), client: .send(2500)),
            ChannelPlan("org.example.b", agent: .echo, client: .send(40)),
        ])
        simulation.settle()
        simulation.close(number: 2, from: guest)
        simulation.settle()
        simulation.detach(number: 1, from: guest)
        simulation.settle()
    }

    /// In how many seeds each bug must be found.
    static let budget = 40

    @Test(arguments: Mutant.Bug.allCases)
    func `a bug is found within forty seeds`(bug: Mutant.Bug) throws {
        let broken = Experiment(MutantTests.life, faults: ["conflicts"]) { Mutant(bug) }
        let experiment = try #require(broken)
        let failure = experiment.explore(cases: MutantTests.budget, seed: 3, shrinkLimit: 0)
        #expect(failure != nil, "nobody noticed \(bug)")
    }

    @Test func `what ships passes a hundred seeds of the same life`() throws {
        let experiment = try #require(Experiment(MutantTests.life, faults: ["conflicts"]))
        let failure = experiment.explore(cases: 100, seed: 3)
        #expect(failure == nil, "\(failure?.description ?? "")")
    }
}
