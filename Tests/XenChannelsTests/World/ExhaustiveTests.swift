// SPDX-License-Identifier: MIT

import Foundation
import Testing
import XenBus
import XenChannels
import XenExploration
import XenInterface

private let isLong = ProcessInfo.processInfo.environment["XEN_EXPLORE"] != nil

/// The two machines against each other: every interleaving of their scripts and events, each state once.
struct ExhaustiveTests {
    /// Explores a story and all its ends; `XEN_EXPLORE=1` says how much there was. With a budget only a part is seen.
    private func explored(
        _ story: [StoryEvent],
        grain: ChannelWorld.Grain = .script,
        timersAnytime: Bool = false,
        budget: Int? = nil
    ) throws -> Exploration {
        let limit = budget ?? 4_000_000
        let result = try explore(story, grain: grain, timersAnytime: timersAnytime, budget: limit)
        if isLong { print("\(story) \(grain): \(result)") }
        #expect(budget != nil || !result.isCut, "more states than \(limit)")
        #expect(result.ends > 0)
        return result
    }

    @Test func `a plugged channel connects in every order (R5)`() throws {
        let result = try explored([.plug])
        #expect(result.connectedEnds == result.ends)
    }

    @Test(
        arguments: [
            [.plug, .closeFrontend], [.plug, .stopDaemon], [.plug, .unplug], [.plug, .restartDaemon],
            [.plug, .rebootGuest], [.plug, .remove], [.plug, .plug],
        ] as [[StoryEvent]]
    )
    func `whatever happens at whatever moment, no state is stuck and nothing is left over (B23, B24, B33)`(
        story: [StoryEvent]
    ) throws {
        let result = try explored(story, budget: isLong ? nil : 800)
        if story.last == .restartDaemon { #expect(result.connectedEnds == result.ends, "B7, B25") }
        if story.last == .unplug || story.last == .remove { #expect(result.connectedEnds == 0) }
    }

    @Test(
        .enabled(if: isLong),
        arguments: [
            [.plug, .closeFrontend, .rebootGuest, .closeFrontend], [.plug, .stopDaemon, .startDaemon, .rebootGuest],
            [.plug, .unplug, .remove, .plug], [.plug, .restartDaemon, .rebootGuest],
            [.plug, .rebootGuest, .unplug, .remove], [.plug, .remove, .plug, .remove],
        ] as [[StoryEvent]]
    )
    func `connect, close, reconnect and close, in every order`(story: [StoryEvent]) throws {
        _ = try explored(story)
    }

    @Test(
        .enabled(if: isLong),
        arguments: [[.plug], [.plug, .closeFrontend], [.plug, .unplug], [.plug, .restartDaemon]] as [[StoryEvent]]
    )
    func `every interleaving of single requests`(story: [StoryEvent]) throws {
        _ = try explored(story, grain: .request)
    }

    @Test(.enabled(if: isLong), arguments: [[.plug, .closeFrontend], [.plug, .unplug]] as [[StoryEvent]])
    func `timers may run out at any moment`(story: [StoryEvent]) throws {
        _ = try explored(story, timersAnytime: true)
    }
}
