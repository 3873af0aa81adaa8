// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenChannels
import XenExploration
import XenInterface
import XenRing

struct MiddleRuleTests {
    /// `buffer_append` of xenconsoled 4.17 for a buffer of which nothing was handed out, until it drops no more.
    private func xenconsoled(_ bytes: [Int], limit: Int) -> [Int] {
        var bytes = bytes
        while bytes.count > limit + limit / 4 {
            bytes = Array(bytes[..<(limit / 2)] + bytes[min(limit, bytes.count)...])
        }
        return bytes
    }

    /// `buffer_append` of QEMU 7.2, where it does not write in front of its buffer.
    private func qemu(_ bytes: [Int], limit: Int) -> [Int] {
        guard bytes.count > limit else { return bytes }
        let over = bytes.count - limit
        guard over <= limit else { return Array(bytes.suffix(limit)) }
        var buffer = bytes
        for index in 0..<over { buffer[limit - over + index] = bytes[limit + index] }
        return Array(buffer[..<limit])
    }

    @Test func `what is dropped is what xenconsoled and QEMU drop, for any size and limit (A27)`() {
        checkProperty(cases: 2000) { choices in
            let limit = choices.integer(in: 1...5000, corners: [1, 2, 3, 4, 2048])
            let bytes = Array(0..<choices.integer(in: 0...9000, corners: [limit, limit + 1, limit + limit / 4]))
            for (rule, reference) in [(MiddleRule.xenconsoled, xenconsoled), (.qemu, qemu)] {
                var left = bytes
                if let cut = rule.cut(of: bytes.count, limit: limit) { left.removeSubrange(cut) }
                try requireEqual(left, reference(bytes, limit), "\(rule) with limit \(limit) and \(bytes.count) bytes")
            }
        }
    }

    @Test func `what may just wait is no overflow`() {
        for limit in 1...20 {
            #expect(MiddleRule.xenconsoled.cut(of: limit + limit / 4, limit: limit) == nil)
            #expect(MiddleRule.qemu.cut(of: limit, limit: limit) == nil)
        }
    }
}

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

struct EventRotaTests {
    @Test func `a quiet domain's port waits for one event of each other domain at most`() {
        checkProperty(cases: 200) { choices in
            var rota = EventRota(budget: choices.integer(in: 1...8))
            let domains = choices.integer(in: 2...5)
            let quiet = DomainID(UInt16(domains))
            for _ in 0..<choices.choose(below: 60) {
                let domain = choices.choose(below: domains)
                _ = rota.add(
                    EventChannelPort(UInt32(domain * 100 + choices.choose(below: 50))),
                    of: DomainID(UInt16(domain))
                )
                if choices.chance(1, in: 3) { _ = rota.next() }
                if choices.chance(1, in: 20) { rota.refill() }
            }
            _ = rota.add(EventChannelPort(1000), of: quiet)
            var waited = 0
            while let port = rota.next(), port != EventChannelPort(1000) {
                waited += 1
                // The storm goes on.
                _ = rota.add(port, of: DomainID(UInt16(port.rawValue / 100)))
            }
            try require(waited <= domains, "\(waited) others came first, of \(domains) other domains")
        }
    }

    @Test func `a domain gets its budget and no more until all else had its turn, and no event is lost`() {
        checkProperty(cases: 200) { choices in
            let budget = choices.integer(in: 1...5)
            var rota = EventRota(budget: budget)
            // Each port of a domain has as much.
            let budgets = (0..<3).map { domain in
                let count = choices.integer(in: 0...3)
                rota.countPorts(of: DomainID(UInt16(domain)), adding: count)
                return budget * max(1, count)
            }
            var ready: [UInt32: Int] = [:]
            var served: [Int: Int] = [:]
            for _ in 0..<choices.choose(below: 300) {
                switch choices.choose(below: 5) {
                case 0, 1:
                    let port = UInt32(choices.choose(below: 20))
                    let domain = Int(port) % 3
                    let isNew = rota.add(EventChannelPort(port), of: DomainID(UInt16(domain)))
                    try requireEqual(isNew, ready[port] == nil, "whether it waits")
                    ready[port] = domain
                case 2, 3:
                    if let port = rota.next() {
                        let domain = ready.removeValue(forKey: port.rawValue) ?? -1
                        try require(domain >= 0, "port \(port) is served and was not ready")
                        served[domain, default: 0] += 1
                        try require(served[domain, default: 0] <= budgets[domain], "more than its budget")
                    } else {
                        try require(
                            ready.values.allSatisfy { served[$0, default: 0] == budgets[$0] },
                            "a port with budget left is not served"
                        )
                    }
                default:
                    guard choices.chance(1, in: 4) else { break }
                    rota.refill()
                    served = [:]
                }
                try requireEqual(rota.isEmpty, ready.isEmpty, "whether it is empty")
            }
        }
    }

    @Test func `a budget without end is one for any number of ports`() {
        var rota = EventRota(budget: .max)
        rota.countPorts(of: DomainID(1), adding: 4)
        for _ in 0..<3 {
            _ = rota.add(EventChannelPort(5), of: DomainID(1))
            let port = rota.next()
            #expect(port == EventChannelPort(5))
        }
    }

    @Test func `many ports of a domain are served in the order in which they became ready`() {
        var rota = EventRota(budget: 1000)
        var expected: [UInt32] = []
        var served: [UInt32] = []
        for round in 0..<4 as Range<UInt32> {
            for port in round * 100..<round * 100 + 100 {
                expected.append(port)
                let isNew = rota.add(EventChannelPort(port), of: DomainID(1))
                #expect(isNew)
            }
            for _ in 0..<80 { if let port = rota.next() { served.append(port.rawValue) } }
        }
        while let port = rota.next() { served.append(port.rawValue) }
        #expect(served == expected)
    }
}
