// SPDX-License-Identifier: MIT

import Foundation
import Testing
import XenBus
import XenChannels
import XenExploration
import XenInterface

/// The two machines against each other, over every interleaving of store requests and watch events.
struct ExhaustiveTests {
    /// `XEN_EXPLORE=1` runs the long stories as well.
    private static let isLong = ProcessInfo.processInfo.environment["XEN_EXPLORE"] != nil

    private func explored(_ story: [StoryEvent], timersAnytime: Bool = false, budget: Int = 2_000_000) throws {
        let result = try explore(story, timersAnytime: timersAnytime, budget: budget)
        print("\(story): \(result)")
        #expect(!result.isCut)
    }

    @Test func `connecting (R5)`() throws {
        try explored([.plug])
    }

    @Test(arguments: [
        [.plug, .closeFrontend], [.plug, .stopDaemon], [.plug, .unplug], [.plug, .restartDaemon],
        [.plug, .rebootGuest], [.plug, .remove],
    ] as [[StoryEvent]])
    func `something happens at any moment`(story: [StoryEvent]) throws {
        try explored(story)
    }
}
