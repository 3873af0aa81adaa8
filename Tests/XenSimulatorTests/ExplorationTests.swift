// SPDX-License-Identifier: MIT

import Synchronization
import Testing
import XenExploration
import XenSimulator

struct ExplorationTests {
    static let tiny = Scenario("tiny", "one channel, one question") { simulation in
        simulation.addGuest([ChannelPlan("org.example.a", agent: .answer, client: .ask(1))])
        simulation.settle()
    }

    @Test func `every schedule of a tiny world without interruptions passes`() throws {
        let experiment = try #require(Experiment(ExplorationTests.tiny))
        let result = experiment.exploreAll(preemptions: 0, runLimit: 3000)
        #expect(result.failure == nil)
        #expect(result.isComplete)
        #expect(result.states > 300)
        #expect(result.cutRuns > 0)
    }

    @Test func `looking at every schedule finds a bug without any luck`() throws {
        let broken = Experiment(ExplorationTests.tiny) { Mutant(.noNotificationAfterWriting) }
        let result = try #require(broken).exploreAll(preemptions: 0, runLimit: 3000)
        #expect(result.failure != nil)
    }

    @Test(arguments: [Fault.backendCrash, .toolstackCrash, .guestCrash, .backendClose, .frontendClose])
    func `a tiny world passes, whenever it is interrupted`(fault: Fault) throws {
        let experiment = try #require(Experiment(ExplorationTests.tiny))
        let result = experiment.exploreInterruptions(by: fault, seed: 1)
        #expect(result.failure == nil, "\(result.failure ?? "")")
        #expect(result.isComplete && result.runs > 150)
    }

    @Test(arguments: [0, 1, 3])
    func `few interruptions suffice for bugs of order, and what ships passes them`(preemptions: Int) {
        func failures(_ bug: Mutant.Bug?) -> Int {
            (0..<40 as Range<UInt64>).count { seed in
                let simulation = Simulation(
                    Choices(seed: seed, recording: false),
                    schedule: .bounded(preemptions: preemptions),
                    substitution: bug.map { Mutant($0) }
                )
                MutantTests.life.run(in: simulation)
                return simulation.failure != nil
            }
        }
        #expect(failures(nil) == 0)
        #expect(failures(.wakeupLostBeforeSleeping) > 0)
    }

    @Test func `a failure is made small and its recipe repeats it`() throws {
        let broken = Experiment(ExplorationTests.tiny, faults: ["events"]) { Mutant(.writesThePeersIndex) }
        let experiment = try #require(broken)
        let failure = try #require(experiment.explore(cases: 10, seed: 1, shrinkLimit: 60))
        #expect(failure.recipe.label == "tiny+events")
        let recipe = try Recipe(parsing: failure.recipe.description)
        let simulation = try experiment.replay(recipe)
        #expect(simulation.failure == failure.message)
        #expect(simulation.steps == failure.steps)
        let again = try experiment.replay(recipe)
        #expect(again.trace == simulation.trace)
    }

    @Test func `a failure is told as it is when there is no time to make it small`() throws {
        let worlds = Atomic(0)
        let broken = Experiment(ExplorationTests.tiny, faults: ["events"]) {
            worlds.add(1, ordering: .relaxed)
            return Mutant(.writesThePeersIndex)
        }
        let experiment = try #require(broken)
        let failure = try #require(experiment.check(seed: 1) { worlds.load(ordering: .relaxed) >= 10 }.failure)
        #expect(worlds.load(ordering: .relaxed) <= 11)
        #expect(failure.shrinkRuns <= 8)
        #expect(try experiment.replay(failure.recipe).failure == failure.message)
    }

    @Test func `a recipe finds its experiment among the scenarios`() throws {
        let recipe = try Recipe(parsing: "xensim1:mixed+events+backendCrash:seed=2a")
        let experiment = try #require(Experiment(recipe))
        #expect(experiment.scenario.name == "mixed")
        #expect(experiment.plan.faults == [.eventDelayed, .eventSpurious, .backendCrash])
        #expect(experiment.label == recipe.label)
        #expect(Experiment(try Recipe(parsing: "xensim1:nothing:seed=1")) == nil)
        #expect(Experiment(try Recipe(parsing: "xensim1:mixed+nothing:seed=1")) == nil)
    }

    @Test func `a recipe that does not fit says so`() throws {
        let experiment = try #require(Experiment(.boot))
        let recipe = Recipe(label: "cloud-early-config", source: .values([0, 99, 99]))
        #expect(throws: RecipeError.self) { try experiment.replay(recipe) }
    }
}
