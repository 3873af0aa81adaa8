// SPDX-License-Identifier: MIT

import Testing
import XenExploration
import XenInterface
import XenSimulator
import XenStore

struct FaultTests {
    @Test func `every fault strikes in some run of the mixed scenario`() throws {
        for fault in Fault.allCases {
            var count = 0
            for seed in 0..<40 where count == 0 {
                let simulation = Simulation(Choices(seed: UInt64(seed)), faults: FaultPlan([fault]))
                Scenario.mixed.run(in: simulation)
                count += simulation.struckFaults.first { $0.fault == fault }?.count ?? 0
            }
            #expect(count > 0, "\(fault) never strikes")
        }
    }

    @Test func `a dropped event is noticed, for Xen drops none`() throws {
        let experiment = try #require(Experiment(.exchange, faults: ["droppedEvent"]))
        var plan = FaultPlan()
        plan[.droppedEvent] = .occasions(Array(3..<1000))
        let simulation = Simulation(Choices(seed: 1), faults: plan)
        Scenario.exchange.run(in: simulation)
        #expect(simulation.failure?.contains("sleeps") ?? false)
        #expect(experiment.plan.faults == [.droppedEvent])
    }

    @Test func `a refused commit ends its transaction, and an unprivileged client alone meets quotas`() {
        var plan = FaultPlan()
        plan[.storeAgain] = .occasions([0])
        plan[.storeQuota] = .occasions([0, 1, 2, 3])
        let chance = Chance(Choices(replaying: []), plan: plan)
        let host = StoreHost()
        var store = FaultyStore(host.connect(as: .dom0), isUnprivileged: false, chance: chance)
        guard case .transaction(let id) = store.perform(.beginTransaction, in: .none) else {
            Issue.record("no transaction")
            return
        }
        #expect(store.perform(.write(.root.appending("a"), "1"), in: id) == .done)
        #expect(store.perform(.endTransaction(commit: true), in: id) == .failure(.again))
        #expect(host.server.transactionCount == 0)
        #expect(store.perform(.read(.root.appending("a")), in: .none) == .failure(.noEntry))
        var guest = FaultyStore(host.connect(as: DomainID(1)), isUnprivileged: true, chance: chance)
        #expect(guest.perform(.beginTransaction, in: .none) == .failure(.quota))
    }

    @Test func `channels live in a store that sorts and merges as well`() {
        var plan = FaultPlan()
        plan[.otherStore] = .occasions([0])
        for seed in 0..<5 {
            let simulation = Simulation(Choices(seed: UInt64(seed)), faults: plan)
            Scenario.mixed.run(in: simulation)
            #expect(simulation.failure == nil, "seed \(seed)")
            #expect(simulation.struckFaults.map(\.fault) == [.otherStore])
        }
    }

    @Test func `a scripted crash strikes at its step`() {
        var plan = FaultPlan()
        plan[.backendCrash] = .occasions([100, 300])
        let simulation = Simulation(Choices(seed: 5), faults: plan, tracing: true)
        Scenario.exchange.run(in: simulation)
        #expect(simulation.failure == nil)
        let crashes = simulation.trace?.entries.filter { $0.text == "the backend crashes" }.map(\.step)
        #expect(crashes == [100, 300])
    }
}
