// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenChannels
import XenExploration
import XenRing

/// What becomes of bytes that nobody takes.
struct OverflowTests {
    private func fill(
        _ front: inout ConsoleRing<TestPage>,
        _ written: inout [UInt8],
        _ wanted: Int = 2048
    ) throws(RingViolation) {
        let bytes = (0..<wanted).map { UInt8(truncatingIfNeeded: (written.count + $0) &* 40503 >> 5) }
        let count = try front.output.write(bytes.span)
        written += bytes[..<count]
    }

    private func waiting(_ relay: RingRelay) -> [UInt8] {
        relay.backlog.withBytes { span in span.indices.map { span[$0] } }
    }

    @Test func `without a deadline the peer waits, and nothing is dropped however often one is said to have passed`()
        throws
    {
        let page = TestPage()
        var front = ConsoleRing(fresh: page, as: .frontend)
        var back = ConsoleRing(fresh: page, as: .backend)
        var relay = RingRelay(limit: 100, policy: .blockForever)
        var written: [UInt8] = []
        try fill(&front, &written)
        _ = relay.drain(&back)
        let moved = relay.drain(&back)
        #expect(!moved)
        #expect(relay.deadline == nil)
        #expect(waiting(relay) == [UInt8](written[..<100]))
        #expect(relay.statistics.bytesDropped == 0)
    }

    @Test func `a deadline counts from the last byte that was handed out; then the relief comes, until a byte is`()
        throws
    {
        let page = TestPage()
        var front = ConsoleRing(fresh: page, as: .frontend)
        var back = ConsoleRing(fresh: page, as: .backend)
        let policy = OverflowPolicy.block(deadline: .seconds(3), then: .dropMiddle(.qemu))
        var relay = RingRelay(limit: 1000, policy: policy)
        var written: [UInt8] = []
        try fill(&front, &written, 1000)
        _ = relay.drain(&back)
        // Full, but nobody waits.
        #expect(relay.deadline == nil)
        try fill(&front, &written)
        _ = relay.drain(&back)
        #expect(relay.deadline == .seconds(3))
        relay.handedOut(10)
        #expect(relay.deadline == nil)
        _ = relay.drain(&back)
        #expect(relay.deadline == .seconds(3))
        #expect(relay.statistics.bytesDropped == 0)
        relay.deadlinePassed()
        #expect(relay.deadline == nil)
        _ = relay.drain(&back)
        // 2038 bytes came to the 1000 that waited: those before the newest went.
        #expect(relay.backlog.count == 1000)
        #expect(relay.statistics.bytesDropped == 2038)
        #expect(waiting(relay) == [UInt8](written.suffix(1000)))
        // It stays so while nobody takes any.
        try fill(&front, &written, 300)
        _ = relay.drain(&back)
        #expect(relay.statistics.bytesDropped == 2338)
        #expect(relay.statistics.overflows == 2)
        relay.handedOut(1)
        try fill(&front, &written, 300)
        _ = relay.drain(&back)
        #expect(relay.statistics.bytesDropped == 2338)
        #expect(relay.deadline == .seconds(3))
    }

    @Test func `whoever is to be disconnected for not taking bytes is so once, and what waited is gone`() throws {
        let page = TestPage()
        var front = ConsoleRing(fresh: page, as: .frontend)
        var back = ConsoleRing(fresh: page, as: .backend)
        var relay = RingRelay(limit: 3000, policy: .disconnect)
        var written: [UInt8] = []
        try fill(&front, &written)
        _ = relay.drain(&back)
        let early = relay.takeDisconnection()
        #expect(!early)
        try fill(&front, &written)
        _ = relay.drain(&back)
        let answers = [relay.takeDisconnection(), relay.takeDisconnection()]
        #expect(answers == [true, false])
        #expect(relay.statistics.bytesDropped == 2048)
        #expect(waiting(relay) == [UInt8](written[2048...]))
    }

    @Test
    func `every byte is handed out, waits, or is counted as dropped, and the peer never waits`() {
        checkProperty(cases: 150) { choices in
            let page = TestPage()
            var front = ConsoleRing(fresh: page, as: .frontend)
            var back = ConsoleRing(fresh: page, as: .backend)
            let limit = choices.integer(in: 1...5000)
            let policy = choices.pick(from: [
                OverflowPolicy.dropMiddle(.xenconsoled), .dropMiddle(.qemu), .disconnect,
            ])
            var relay = RingRelay(limit: limit, policy: policy)
            var next = 0
            var handedOut = 0
            for _ in 0..<choices.choose(below: 60) {
                if choices.bool() {
                    let bytes = (0..<choices.integer(in: 0...2048)).map { UInt8(truncatingIfNeeded: next + $0) }
                    try requireEqual(try front.output.write(bytes.span), bytes.count, "the peer waits")
                    next += bytes.count
                    while try !back.input.isEmpty() { _ = relay.drain(&back) }
                } else {
                    let count = choices.choose(below: relay.backlog.count + 1)
                    relay.handedOut(count)
                    handedOut += count
                }
                let most = policy == .dropMiddle(.xenconsoled) ? limit + limit / 4 : limit
                try require(relay.backlog.count <= most, "\(relay.backlog.count) wait and \(most) may")
                let dropped = Int(relay.statistics.bytesDropped)
                try requireEqual(handedOut + relay.backlog.count + dropped, next, "bytes")
                try require(dropped == 0 || relay.statistics.overflows > 0, "dropped without a word")
                // The newest byte is never among those that are dropped.
                let held = relay.backlog.withBytes { span in span.indices.map { span[$0] } }
                if let last = held.last {
                    try requireEqual(last, UInt8(truncatingIfNeeded: next - 1), "the newest byte")
                }
            }
        }
    }

    @Test
    func
        `bytes that stay in the ring until they were handed over survive a kill at any moment`()
    {
        checkProperty(cases: 200) { choices in
            let page = TestPage()
            var front = ConsoleRing(fresh: page, as: .frontend)
            var back = ConsoleRing(fresh: page, as: .backend)
            var relay = RingRelay(limit: 1)
            var written: [UInt8] = []
            var taken: [UInt8] = []
            var buffer = [UInt8](repeating: 0, count: 2048)
            for _ in 0..<choices.choose(below: 40) {
                if choices.bool() {
                    let bytes = (0..<choices.integer(in: 0...2048)).map {
                        UInt8(truncatingIfNeeded: (written.count + $0) &* 31 >> 3)
                    }
                    written += bytes[..<(try front.output.write(bytes.span))]
                    continue
                }
                var span = buffer.mutableSpan
                let count = relay.peek(&back, into: &span)
                let accepted = choices.choose(below: count + 1)
                let isKilled = choices.chance(1, in: 4)
                try requireEqual(
                    Array(buffer[..<count]),
                    Array(written[taken.count..<(taken.count + count)]),
                    "what is handed over"
                )
                if isKilled {
                    // Whether it was handed over or not: the next one hands it over again, and nothing that was taken before.
                    relay = RingRelay(limit: 1)
                    back = try ConsoleRing(attaching: page, as: .backend)
                } else {
                    taken += buffer[..<accepted]
                    try requireEqual(relay.advance(by: accepted, in: &back), accepted > 0, "a notification")
                }
            }
            let left = try back.input.count()
            try requireEqual(taken.count + left, written.count, "nothing is lost")
        }
    }

    @Test
    func `a wait is over when the bytes are taken from the ring, or their ring is: its time is not the next one's`()
        throws
    {
        let page = TestPage()
        var front = ConsoleRing(fresh: page, as: .frontend)
        var back = ConsoleRing(fresh: page, as: .backend)
        let policy = OverflowPolicy.block(deadline: .seconds(1), then: .disconnect)
        var relay = RingRelay(limit: 100, policy: policy)
        var written: [UInt8] = []
        relay.deadlinePassed()
        try fill(&front, &written)
        _ = relay.drain(&back)
        #expect(relay.deadline == .seconds(1))
        #expect(relay.statistics.bytesDropped == 0)
        // A frontend that begins anew: another page.
        var other = ConsoleRing(fresh: TestPage(), as: .backend)
        _ = relay.drain(&other)
        #expect(relay.deadline == nil)
        var direct = RingRelay(limit: 1, policy: policy)
        _ = direct.drain(&back)
        try fill(&front, &written)
        _ = direct.leave(in: &back)
        #expect(direct.deadline == .seconds(1))
        _ = direct.advance(by: 10, in: &back)
        #expect(direct.deadline == nil)
    }

    @Test func `a full ring that nobody takes from follows the policy as well`() throws {
        let page = TestPage()
        var front = ConsoleRing(fresh: page, as: .frontend)
        var back = ConsoleRing(fresh: page, as: .backend)
        var relay = RingRelay(limit: 1, policy: .block(deadline: .seconds(1), then: .disconnect))
        var written: [UInt8] = []
        try fill(&front, &written, 2047)
        _ = relay.leave(in: &back)
        #expect(relay.deadline == nil)
        try fill(&front, &written, 1)
        _ = relay.leave(in: &back)
        #expect(relay.deadline == .seconds(1))
        relay.deadlinePassed()
        let mustNotify = relay.leave(in: &back)
        let mustDisconnect = relay.takeDisconnection()
        #expect(mustNotify && mustDisconnect)
        #expect(relay.statistics.bytesDropped == 2048)
        #expect(relay.statistics.bytesFromRing == 2048)
        let free = try front.output.freeCapacity()
        #expect(free == 2048)
    }
}
