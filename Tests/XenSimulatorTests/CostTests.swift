// SPDX-License-Identifier: MIT

import Testing
import XenBus
import XenExploration
import XenInterface
import XenSimulator

struct CostTests {
    /// Steps and work of one channel's exchange, beside so many idle channels; nothing is left to chance.
    private func exchange(idle: Int) -> (steps: Int, entries: Int, actors: Set<String>, failure: String?) {
        let simulation = Simulation(Choices(replaying: []), tracing: true)
        simulation.stepLimit = 1_000_000
        for _ in 0...idle {
            simulation.addGuest([ChannelPlan("org.example.agent", agent: .answer, client: .ask(1))])
        }
        simulation.settle()
        let steps = simulation.steps
        let entries = simulation.trace?.entries.count ?? 0
        simulation.ask(20, number: 1, of: 0)
        simulation.settle()
        let trace = simulation.trace
        let actors = trace?.entries.dropFirst(entries).compactMap { trace?.names[$0.actor] } ?? []
        return (simulation.steps - steps, actors.count, Set(actors), simulation.failure)
    }

    @Test func `idle channels take no part in a busy one's steps`() {
        let alone = exchange(idle: 0)
        let crowded = exchange(idle: 60)
        #expect(alone.failure == nil && crowded.failure == nil)
        #expect(alone.steps > 100)
        #expect(crowded.steps == alone.steps)
        #expect(crowded.entries == alone.entries)
        #expect(crowded.actors == alone.actors)
        #expect(crowded.actors == ["client1/1", "agent1/1", "be1/1", "fe1/1", "backend", "guest1"])
    }

    @Test func `a run can be looked at after any step`() throws {
        let experiment = try #require(Experiment(.exchange))
        let whole = experiment.run(Choices(seed: 4), tracing: true)
        var waiting = 0
        for tenth in 1..<10 {
            let part = experiment.run(Choices(seed: 4), tracing: true, upTo: whole.steps * tenth / 10)
            #expect(part.steps == whole.steps * tenth / 10)
            #expect(part.failure == nil)
            let entries = try #require(part.trace).entries
            #expect(try entries == #require(whole.trace).entries.prefix(entries.count).map { $0 })
            guard let channel = part.channels.first, let page = part.page(of: channel.key) else { continue }
            #expect(page.count == 4096)
            waiting += channel.bytesInInputRing + channel.bytesInOutputRing
            if waiting > 0 { #expect(page.prefix(3072).contains { $0 != 0 }) }
            #expect(part.storeListing.contains("/local/domain/1/device/console/1/state"))
        }
        #expect(waiting > 0)
    }

    @Test func `a channel that was closed is opened again, with another page`() {
        let simulation = Simulation(Choices(seed: 2), tracing: true)
        let guest = simulation.addGuest([ChannelPlan("org.example.agent", agent: .answer, client: .ask(1))])
        simulation.settle()
        for _ in 0..<3 {
            simulation.close(number: 1, from: guest)
            simulation.settle()
            #expect(simulation.channels.first?.frontend != .connected)
            simulation.open(number: 1, from: guest)
            simulation.ask(1, number: 1, of: guest)
            simulation.settle()
        }
        #expect(simulation.channels.first?.client.received == 96)
        simulation.finish()
        #expect(simulation.failure == nil, "\(simulation.failure ?? "")")
        #expect(simulation.trace?.entries.count { $0.text.hasPrefix("grants page") } == 4)
    }
}
