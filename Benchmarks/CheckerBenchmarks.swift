// SPDX-License-Identifier: MIT

import XenRingChecker

/// The proof of the ring's orderings.
enum CheckerBenchmarks {
    static func run(in suite: Suite) {
        guard suite.wants("checker/") else { return }
        suite.measure("checker/executions a second, 3 writes and 3 reads", unit: "1/s") {
            rate(of: Explorer(RingScenarios.plain(writes: 3, reads: 3)))
        }
        suite.measure("checker/executions a second, visiting each state again", unit: "1/s") {
            rate(of: Explorer(RingScenarios.plain(writes: 2, reads: 2), revisitsStates: true))
        }
    }

    private static func rate(of explorer: Explorer) -> Double {
        var executions = 0
        let time = seconds {
            let report = explorer.explore()
            insist(report.isProof, "the ring is proven")
            executions = report.executions
        }
        return Double(executions) / time
    }
}
