// SPDX-License-Identifier: MIT

import Synchronization
import TestSupport
import Testing
import XenExploration

@testable import XenSimulator

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
    func `few interruptions suffice for bugs of order, and what ships passes them`(preemptions: Int) throws {
        let shipped = try #require(Experiment(MutantTests.life, faults: ["conflicts"], preemptions: preemptions))
        #expect(shipped.explore(cases: 40, seed: 1) == nil)
        let broken = Experiment(MutantTests.life, preemptions: preemptions) { Mutant(.wakeupLostBeforeSleeping) }
        #expect(try #require(broken).explore(cases: 40, seed: 1, shrinkLimit: 0) != nil)
    }

    @Test func `no run has more interruptions than it may`() {
        checkProperty("few interruptions", cases: 60) { choices in
            let limit = choices.integer(in: 0...4)
            let schedules = [Schedule.bounded(preemptions: limit), .systematic(preemptions: limit)]
            let schedule = choices.pick(from: schedules)
            let simulation = Simulation(
                choices,
                faults: FaultPlan(Fault.named("all") ?? []),
                schedule: schedule,
                tracing: true
            )
            var last: Int?
            var interruptions = 0
            simulation.invariants.append { simulation in
                let world = simulation.world
                if let last, last != world.trace.actor { interruptions += 1 }
                last = world.ready.contains(world.trace.actor) ? world.trace.actor : nil
                return interruptions > limit ? "\(interruptions) interruptions, not \(limit)" : nil
            }
            MutantTests.life.run(in: simulation)
            choices = simulation.choices
            try require(simulation.failure == nil, simulation.failure ?? "")
        }
    }

    @Test(arguments: [(nil, "tiny+events"), (0, "tiny+events+preemptions=0"), (2, "tiny+events+preemptions=2")])
    func `a failure is made small and its recipe repeats it`(preemptions: Int?, label: String) throws {
        let broken = Experiment(ExplorationTests.tiny, faults: ["events"], preemptions: preemptions) {
            Mutant(.writesThePeersIndex)
        }
        let experiment = try #require(broken)
        let failure = try #require(experiment.explore(cases: 10, seed: 1, shrinkLimit: 60))
        #expect(failure.recipe.label == label)
        let recipe = try Recipe(parsing: failure.recipe.description)
        let simulation = try experiment.replay(recipe)
        #expect(simulation.failure == failure.message)
        #expect(simulation.steps == failure.steps)
        let first = experiment.run(Choices(seed: failure.seed))
        #expect(simulation.choices.taken.count { $0.value > 0 } < first.choices.taken.count { $0.value > 0 })
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
        let bounded = try Recipe(parsing: "xensim1:mixed+events+preemptions=2:seed=2a")
        let few = try #require(Experiment(bounded))
        #expect(few.preemptions == 2 && few.faults == ["events"] && few.label == bounded.label)
        let simulation = Simulation(
            bounded.choices(),
            faults: few.plan,
            schedule: .bounded(preemptions: 2),
            tracing: true
        )
        few.scenario.run(in: simulation)
        #expect(try few.replay(bounded).trace == simulation.trace)
        for label in [
            "nothing", "mixed+nothing", "mixed+preemptions=", "mixed+preemptions=-1", "mixed+preemptions=2+mixed",
        ] {
            #expect(Experiment(try Recipe(parsing: "xensim1:\(label):seed=1")) == nil, "\(label)")
        }
    }

    @Test func `a recipe that does not fit says so`() throws {
        let experiment = try #require(Experiment(.boot))
        let recipe = Recipe(label: "cloud-early-config", source: .values([0, 99, 99]))
        #expect(throws: RecipeError.self) { try experiment.replay(recipe) }
    }
}
