// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenBus
import XenExploration

struct ActionListTests {
    @Test func `actions are taken in the order in which they were asked for, each once`() {
        checkProperty(cases: 200) { choices in
            var list = ActionList<Int>()
            var model: [Int] = []
            for number in 0..<choices.choose(below: 30) {
                if choices.bool() {
                    list.append(number)
                    model.append(number)
                } else {
                    try requireEqual(list.next(), model.isEmpty ? nil : model.removeFirst(), "the next action")
                }
            }
            try requireEqual(list.all(), model, "all that are left")
            try requireEqual(list.next(), nil, "the action behind the last")
        }
    }
}
