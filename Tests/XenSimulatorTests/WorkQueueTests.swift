// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenExploration

@testable import XenSimulator

struct WorkQueueTests {
    @Test func `work is done in order, urgent work first, and queues with the same work are equal`() {
        checkProperty(cases: 200) { choices in
            var queue = WorkQueue<Int>()
            var model: [Int] = []
            for number in 0..<choices.choose(below: 40) {
                switch choices.choose(below: 4) {
                case 0:
                    queue.append(number)
                    model.append(number)
                case 1:
                    let urgent = (0..<choices.choose(below: 4)).map { number * 100 + $0 }
                    queue.prepend(urgent)
                    model = urgent + model
                default:
                    try requireEqual(queue.popFirst(), model.isEmpty ? nil : model.removeFirst(), "the next work")
                }
                try requireEqual(queue.isEmpty, model.isEmpty, "whether there is work")
                var fresh = WorkQueue<Int>()
                for work in model { fresh.append(work) }
                try require(fresh == queue && fresh.hashValue == queue.hashValue, "equality")
            }
        }
    }
}
