// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenExploration
import XenHypervisor
import XenInterface

struct ModelTests {
    @Test func `random operations do what the plain model does`() {
        checkProperty(cases: 60) { choices in
            var pair = HypervisorAndModel(choices)
            defer { choices = pair.random }
            for _ in 0..<200 {
                pair.step()
                pair.compare()
                if let difference = pair.difference { throw PropertyViolation(difference) }
            }
        }
    }

    @Test func `the operations reach what is rare`() {
        var zombies = 0
        var fullTables = 0
        var masked = 0
        for seed: UInt64 in 1...60 {
            var pair = HypervisorAndModel(Choices(seed: seed))
            for _ in 0..<200 {
                pair.step()
                zombies += (0..<4).contains { pair.model.isZombie($0) } ? 1 : 0
                fullTables += (0..<4).contains { pair.model.lowestFree($0) == nil } ? 1 : 0
                masked += pair.model.ports.contains { $0.isPending && $0.isMasked } ? 1 : 0
            }
        }
        #expect(zombies > 100)
        #expect(fullTables > 100)
        #expect(masked > 100)
    }
}
