// SPDX-License-Identifier: MIT

import Testing
import XenRing

@testable import XenChannels

/// What ends the wait of a peer for whose bytes there is no room, and what does not.
struct RelayStallTests {
    private let policy = OverflowPolicy.block(deadline: .seconds(1), then: .dropMiddle(.qemu))

    /// A page whose frontend has filled its ring.
    private func fullPage() throws -> TestPage {
        let page = TestPage()
        var front = ConsoleRing(fresh: page, as: .frontend)
        let count = try front.output.write([UInt8](repeating: 1, count: 2048).span)
        #expect(count == 2048)
        return page
    }

    @Test func `who takes no byte ends no wait, and who takes one does, however it is handed out`() throws {
        var back = ConsoleRing(fresh: try fullPage(), as: .backend)
        var relay = RingRelay(limit: 100, policy: policy)
        var spare = SpareMemory()
        _ = relay.drain(&back)
        #expect(relay.deadline == .seconds(1))
        relay.handedOut(0)
        relay.handedOut(0, giving: &spare)
        #expect(relay.deadline == .seconds(1) && relay.isBlocked)
        relay.handedOut(1, giving: &spare)
        #expect(relay.deadline == nil && !relay.isBlocked)
        _ = relay.drain(&back)
        #expect(relay.deadline == .seconds(1))
        relay.handedOut(1)
        #expect(relay.deadline == nil && !relay.isBlocked)

        var direct = RingRelay(limit: 100, policy: policy)
        back = ConsoleRing(fresh: try fullPage(), as: .backend)
        _ = direct.leave(in: &back)
        _ = direct.advance(by: 0, in: &back)
        #expect(direct.deadline == .seconds(1))
        // Until somebody takes a byte, also when the time is up.
        direct.deadlinePassed()
        #expect(direct.isBlocked)
        _ = direct.advance(by: 1, in: &back)
        #expect(!direct.isBlocked)
    }

    @Test(arguments: [OverflowRelief.dropMiddle(.qemu), .disconnect])
    func `a full ring is emptied for either relief, and only one of them disconnects`(relief: OverflowRelief) throws {
        var back = ConsoleRing(fresh: try fullPage(), as: .backend)
        var relay = RingRelay(limit: 100, policy: .block(deadline: .seconds(1), then: relief))
        _ = relay.leave(in: &back)
        relay.deadlinePassed()
        let mustNotify = relay.leave(in: &back)
        let mustDisconnect = relay.takeDisconnection()
        #expect(mustNotify && relay.statistics.bytesDropped == 2048)
        #expect(mustDisconnect == (relief == .disconnect))
    }
}
