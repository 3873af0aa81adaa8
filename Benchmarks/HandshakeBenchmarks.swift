// SPDX-License-Identifier: MIT

import XenSimulator

/// A channel's life without its bytes: both machines go to Connected and to Closed again, each through the store.
enum HandshakeBenchmarks {
    static func run(in suite: Suite) {
        guard suite.wants("handshake/") else { return }
        let simulation = SimulatorBenchmarks.guest()
        let count = suite.isQuick ? 100 : 1000
        var steps: [Double] = []
        suite.measure("handshake/cycles a second", unit: "1/s") {
            let before = simulation.steps
            let time = seconds { cycle(simulation, count) }
            steps.append(Double(simulation.steps - before) / time)
            return Double(count) / time
        }
        guard !steps.isEmpty else { return }
        var rate = Measurement("handshake/steps a second", steps.median, "1/s")
        rate.spread = steps.spread
        suite.add(rate)
    }

    private static func cycle(_ simulation: Simulation, _ count: Int) {
        for _ in 0..<count {
            simulation.open(number: 1, from: 0)
            simulation.settle()
            simulation.close(number: 1, from: 0)
            simulation.settle()
        }
        if let failure = simulation.failure { refuse(failure) }
    }
}
