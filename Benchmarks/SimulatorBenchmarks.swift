// SPDX-License-Identifier: MIT

import Foundation
import Synchronization
import XenExploration
import XenSimulator

/// The simulator: steps of the data phase, and whole lives of channels.
enum SimulatorBenchmarks {
    static func run(in suite: Suite) {
        guard suite.wants("simulator/") else { return }
        let memory = "simulator/bytes a connected idle channel, beyond its page"
        // First and once: memory that was used before would be used again, and not be counted.
        if suite.wants(memory) { suite.add(Measurement(memory, bytesOfAnIdleChannel(), "B", goal: .atMost(8192))) }
        for channels in [1, 1000] {
            let name = "simulator/steps a second, \(channels) channel\(channels == 1 ? "" : "s")"
            guard suite.wants(name) else { continue }
            let count = suite.isQuick ? 100_000 : 2_000_000
            let simulation = world(channels: channels)
            suite.measure(name, unit: "M/s", goal: .atLeast(channels == 1 ? 5 : 1)) { stepRate(simulation, count) }
        }
        beside(suite)
        let count = suite.isQuick ? 100 : 1000
        let simulation = guest()
        suite.measure("simulator/connect, exchange, close", unit: "1/s", goal: .atLeast(20_000)) {
            cycleRate(simulation, count)
        }
        suite.measure("simulator/connect, exchange, close, in two threads", unit: "1/s") { pairRate(count) }
        suite.measure("simulator/attach, exchange, detach", unit: "1/s") { lifeRate(simulation, count) }
        suite.measure("simulator/worlds with a guest with a channel", unit: "1/s") { worldRate(count) }
    }

    /// A step takes as long, whoever sleeps: the difference is the memory's, which the caches hold less of.
    private static func beside(_ suite: Suite) {
        let name = "simulator/step of a channel beside 1,000 idle ones"
        guard suite.wants(name) else { return }
        let count = suite.isQuick ? 100_000 : 1_000_000
        let alone = world(channels: 1)
        let crowded = world(channels: 1, idle: 1000)
        suite.compare(
            name,
            unit: "ns",
            ours: { 1000 / stepRate(crowded, count) },
            peers: [("beside none", .atMost(1.25), { 1000 / stepRate(alone, count) })]
        )
    }

    /// Guests whose agents and clients send to each other for ever, all connected, after some whose channels have come to rest.
    private static func world(channels: Int, idle: Int = 0) -> Simulation {
        let simulation = Simulation(Choices(seed: 1, recording: false))
        simulation.stepLimit = .max
        for _ in 0..<idle { simulation.addGuest([question]) }
        if idle > 0 { simulation.settle() }
        for _ in 0..<channels {
            var plan = ChannelPlan("org.example.load", agent: .send(.max >> 8), client: .send(.max >> 8))
            plan.chunks = [100]
            simulation.addGuest([plan])
        }
        simulation.run(steps: channels * 600 + 20_000)
        return simulation
    }

    private static func stepRate(_ simulation: Simulation, _ count: Int) -> Double {
        let start = nanoseconds()
        simulation.run(steps: count)
        return Double(count) * 1000 / Double(nanoseconds() - start)
    }

    /// What a thousand more channels take, of guests that are there anyway: resident memory, as the kernel counts it.
    private static func bytesOfAnIdleChannel() -> Double {
        let simulation = Simulation(Choices(seed: 1, recording: false))
        simulation.stepLimit = .max
        for _ in 0..<100 { simulation.addGuest([question]) }
        simulation.settle()
        let before = residentBytes()
        for guest in 0..<100 {
            for number in 2...11 { simulation.attach(question, number: number, to: guest) }
        }
        simulation.settle()
        if let failure = simulation.failure { refuse(failure) }
        insist(simulation.channels.count == 1100, "all channels are connected")
        return Double(residentBytes() - before) / 1000 - 4096
    }

    private static let question = ChannelPlan("org.example.agent", agent: .answer, client: .ask(1))

    /// A guest that runs, with a channel that was closed.
    static func guest() -> Simulation {
        let simulation = Simulation(Choices(seed: 1, recording: false))
        simulation.stepLimit = .max
        simulation.addGuest([question])
        simulation.settle()
        simulation.close(number: 1, from: 0)
        simulation.settle()
        return simulation
    }

    /// A channel whose nodes are there: guest and backend connect it through all states of the handshake, with page, grant and port, a
    /// question is answered over the ring, and the guest closes it.
    private static func cycleRate(_ simulation: Simulation, _ count: Int) -> Double {
        let start = nanoseconds()
        for _ in 0..<count {
            simulation.open(number: 1, from: 0)
            simulation.ask(1, number: 1, of: 0)
            simulation.settle()
            simulation.close(number: 1, from: 0)
            simulation.settle()
        }
        if let failure = simulation.failure { refuse(failure) }
        return Double(count) * 1e9 / Double(nanoseconds() - start)
    }

    /// The same of two worlds at once, as `xenchan simulate --jobs 2` runs them.
    private static func pairRate(_ count: Int) -> Double {
        let rates = Mutex((0.0, 0.0))
        _ = together(
            {
                let rate = cycleRate(guest(), count)
                rates.withLock { $0.0 = rate }
            },
            {
                let rate = cycleRate(guest(), count)
                rates.withLock { $0.1 = rate }
            }
        )
        return rates.withLock { $0.0 + $0.1 }
    }

    /// A channel of a guest that runs: the toolstack makes its nodes, it is connected, a question is answered, it is removed.
    private static func lifeRate(_ simulation: Simulation, _ count: Int) -> Double {
        let start = nanoseconds()
        for _ in 0..<count {
            simulation.attach(question, number: 2, to: 0)
            simulation.settle()
            simulation.detach(number: 2, from: 0)
            simulation.settle()
        }
        if let failure = simulation.failure { refuse(failure) }
        return Double(count) * 1e9 / Double(nanoseconds() - start)
    }

    /// The same with the world around it, and the guest: all is made, and taken apart.
    private static func worldRate(_ count: Int) -> Double {
        let start = nanoseconds()
        for seed in 0..<count {
            let simulation = Simulation(Choices(seed: UInt64(seed), recording: false))
            simulation.addGuest([question])
            simulation.finish()
        }
        return Double(count) * 1e9 / Double(nanoseconds() - start)
    }
}
