// SPDX-License-Identifier: MIT

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

    @Test func `few interruptions are among the schedules, and suffice for a bug of order`() throws {
        let broken = Experiment(ExplorationTests.tiny) { Mutant(.eventIgnoredWhileBusy) }
        let experiment = try #require(broken)
        // The first choice of a run is how restless it is; the fifth possibility is a few interruptions.
        let failures = (0..<60 as Range<UInt32>).count { number in
            let choices = Choices(replaying: [4, number % 3, number % 10, number * 7])
            return experiment.run(choices).failure != nil
        }
        #expect(failures > 0)
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
