// SPDX-License-Identifier: MIT

import Foundation
import XenExploration
import XenSimulator

/// The simulator: steps of the data phase, and whole lives of channels.
enum SimulatorBenchmarks {
    static func run(in suite: Suite) {
        guard suite.wants("simulator/") else { return }
        for channels in [1, 1000] {
            let count = suite.isQuick ? 300_000 : 2_000_000
            let simulation = world(channels: channels)
            suite.compare(
                "simulator/steps a second, \(channels) channel\(channels == 1 ? "" : "s")",
                unit: "M/s",
                ours: { stepRate(simulation, count) },
                peers: []
            )
        }
        let lives = suite.isQuick ? 200 : 1000
        suite.compare("simulator/lives of a guest with a channel", unit: "1/s", ours: { lifeRate(lives) }, peers: [])
    }

    /// Guests whose agents and clients send to each other for ever, all connected.
    private static func world(channels: Int) -> Simulation {
        let simulation = Simulation(Choices(seed: 1, recording: false))
        simulation.stepLimit = .max
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

    /// Made, connected, a question answered, removed.
    private static func lifeRate(_ count: Int) -> Double {
        let start = nanoseconds()
        for seed in 0..<count {
            let simulation = Simulation(Choices(seed: UInt64(seed), recording: false))
            simulation.addGuest([ChannelPlan("org.example.agent", agent: .answer, client: .ask(1))])
            simulation.finish()
        }
        return Double(count) * 1e9 / Double(nanoseconds() - start)
    }
}
