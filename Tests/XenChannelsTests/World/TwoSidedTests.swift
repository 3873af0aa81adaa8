// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenBus
import XenChannels
import XenExploration
import XenInterface

struct TwoSidedTests {
    /// Runs one story, everything else in an order of choice, to its end.
    private func run(_ story: [StoryEvent], _ choices: inout Choices) throws -> ChannelWorld {
        var world = try ChannelWorld(story: story, grain: .finest)
        if choices.isExplaining { world.trace = [] }
        defer { for line in world.trace ?? [] { choices.note(line) } }
        var budget = 3000
        while budget > 0 {
            budget -= 1
            let enabled = world.enabled
            // A timer may run out at any time, but does so seldom.
            let timers = world.timers
            if !timers.isEmpty, enabled.isEmpty || choices.chance(1, in: 40) {
                try world.take(choices.pick(from: timers))
            } else if !enabled.isEmpty {
                try world.take(choices.pick(from: enabled))
            } else {
                try world.checkQuiescence()
                return world
            }
        }
        throw PropertyViolation("the two sides never come to rest")
    }

    private func finish(_ world: ChannelWorld) throws {
        var world = world
        world.takeDown()
        try world.checkTakenDown()
    }

    @Test func `whatever happens and in whatever order, both sides end connected or closed, and nothing is left over`()
    {
        checkProperty(cases: 300) { choices in
            var story: [StoryEvent] = [.plug]
            story += choices.array(count: 0...6) { $0.pick(from: StoryEvent.allCases) }
            choices.note("\(story)")
            let world = try run(story, &choices)
            try finish(world)
        }
    }

    @Test func `a plugged channel connects in whatever order both sides work (R5)`() {
        checkProperty(cases: 100) { choices in
            let world = try run([.plug], &choices)
            try require(world.guest.isConnected, "not connected")
            try finish(world)
        }
    }
}
