// SPDX-License-Identifier: MIT

import Foundation
import XenExploration

/// A property, and what is said when it does not hold.
func explorationExample() throws {
    let environment = try PropertyEnvironment(ProcessInfo.processInfo.environment)
    let failure = try environment.check("sums are small", cases: 100) { choices throws(PropertyViolation) in
        let numbers = choices.array(count: 0...10) { $0.integer(in: 0...100) }
        choices.note("\(numbers)")
        try require(numbers.reduce(0, +) < 300, "the sum is too large")
    }
    print(failure?.description ?? "it holds")  // the smallest numbers that break it, and a recipe
    precondition(failure != nil)
}
