// SPDX-License-Identifier: MIT

import Testing
import XenRing

@testable import XenChannelIO

struct AttachedRingTests {
    @Test func `a backend that joins a page another has used tells the guest once, for the one that may not have`()
        throws
    {
        let bench = try Bench()
        for word in [3072, 3076] { bench[word: word] = 5 }
        let ring = try bench.ring()
        ring.flush()
        ring.flush()
        #expect(bench.notifications == 1)
    }

    @Test func `moves before one event are counted as events that were spared (A25)`() throws {
        let bench = try Bench()
        let ring = try bench.ring()
        for moves in [1, 3, 0] {
            for _ in 0..<moves { ring.note(true) }
            ring.note(false)
            ring.flush()
        }
        #expect(bench.notifications == 2)
        #expect(ring.eventsSent == 2 && ring.eventsSpared == 2)
    }

    @Test func `on a page that no backend has used there is nothing to tell (A25)`() throws {
        let bench = try Bench()
        try bench.write([1, 2, 3])
        let ring = try bench.ring()
        ring.flush()
        #expect(bench.notifications == 0)
    }
}
