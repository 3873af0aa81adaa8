// SPDX-License-Identifier: MIT

import Foundation
import Testing
import XenBus
import XenChannels
import XenExploration
import XenInterface

private let isLong = ProcessInfo.processInfo.environment["XEN_EXPLORE"] != nil

/// The two machines against each other: every interleaving of their requests, events and tasks with what happens to them, each state once.
///
/// By default one story is explored wholly and a part of the others. `XEN_EXPLORE=1` explores all of them to the end, and prints how many states
/// and transitions there were: for a release build.
struct ExhaustiveTests {
    /// Explores a story and all its ends; with a budget only a part of it.
    private func explored(
        _ story: [StoryEvent],
        grain: ChannelWorld.Grain = .coarse,
        timersAnytime: Bool = false,
        budget: Int? = nil
    ) throws -> Exploration {
        let limit = budget ?? 4_000_000
        let result = try explore(story, grain: grain, timersAnytime: timersAnytime, budget: limit)
        let names = story.map { "\($0)" }.joined(separator: " ")
        if isLong { print("\(names), \(grain)\(timersAnytime ? ", timers at any time" : ""): \(result)") }
        #expect(budget != nil || !result.isCut, "more states than \(limit)")
        #expect(result.isCut || result.ends > 0)
        return result
    }

    @Test func `a plugged channel connects in every order (R5)`() throws {
        let result = try explored([.plug])
        #expect(result.connectedEnds == result.ends)
    }

    @Test(
        arguments: [
            [.plug, .closeFrontend], [.plug, .stopDaemon], [.plug, .unplug], [.plug, .restartDaemon],
            [.plug, .remove],
        ] as [[StoryEvent]]
    )
    func `whatever happens at whatever moment, no state is stuck and nothing is left over (B23, B24, B33)`(
        story: [StoryEvent]
    ) throws {
        let result = try explored(story, budget: isLong ? nil : 400)
        if story.last == .restartDaemon { #expect(result.connectedEnds == result.ends, "B7, B25") }
        if story.last == .unplug || story.last == .remove { #expect(result.connectedEnds == 0) }
    }

    @Test(
        .enabled(if: isLong),
        arguments: [
            [.plug, .settle, .rebootGuest],
            [.plug, .settle, .closeFrontend, .rebootGuest, .settle, .closeFrontend],
            [.plug, .settle, .stopDaemon, .settle, .startDaemon, .settle, .closeFrontend],
            [.plug, .settle, .restartDaemon, .settle, .closeFrontend],
            [.plug, .settle, .restartDaemon, .closeFrontend],
            [.plug, .settle, .unplug, .settle, .remove, .plug, .settle, .unplug],
        ] as [[StoryEvent]]
    )
    func `connect, close, reconnect and close, in every order`(story: [StoryEvent]) throws {
        let result = try explored(story)
        // Whoever begins anew is connected; who closes, or is unplugged, is not.
        #expect(result.connectedEnds == (story.last == .rebootGuest ? result.ends : 0))
    }

    @Test(.enabled(if: isLong))
    func `every interleaving of single events, listings and tasks`() throws {
        let result = try explored([.plug], grain: .exact)
        #expect(result.connectedEnds == result.ends)
    }

    /// While it is connected, and from then on at whatever moment of its end. Made anew while it connects, it has more states than can be
    /// counted here, some 10,000 moments of the first life with what follows from each: `XenSimulatorTests` try that at random.
    @Test(.enabled(if: isLong)) func `a device that is made anew connects`() throws {
        let result = try explored([.plug, .settle, .plug])
        #expect(result.connectedEnds == result.ends)
    }

    /// While it is connected, or at whatever moment of its connecting; the backend may be killed meanwhile.
    @Test(arguments: [[.plug, .republish], [.plug, .settle, .republish, .restartDaemon]] as [[StoryEvent]])
    func `a guest that publishes other numbers is attached to those (B16, B23)`(story: [StoryEvent]) throws {
        let result = try explored(story, budget: isLong ? nil : 1500)
        #expect(result.connectedEnds == result.ends)
    }

    @Test(.enabled(if: isLong)) func `timers may run out at any moment`() throws {
        _ = try explored([.plug], timersAnytime: true)
    }
}
