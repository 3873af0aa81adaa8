// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenExploration
import XenRing

@testable import XenChannels

/// Takes all that waits for one side.
func takeAll(_ ring: inout ConsoleRing<TestPage>) throws(RingViolation) -> [UInt8] {
    var bytes: [UInt8] = []
    while try !ring.input.isEmpty() {
        try bytes.append(addingCapacity: ring.input.count()) { output throws(RingViolation) in
            _ = try ring.input.read(appendingTo: &output)
        }
    }
    return bytes
}

struct ByteQueueTests {
    @Test func `a queue gives its bytes in order, once, and is equal to one with the same bytes`() {
        checkProperty(cases: 200) { choices in
            var queue = ByteQueue()
            var model: [UInt8] = []
            for _ in 0..<choices.choose(below: 30) {
                if choices.choose(below: 5) == 4 {
                    queue.trim()
                } else if choices.bool() {
                    let bytes = choices.bytes(count: choices.choose(below: 40))
                    queue.append(bytes.span)
                    model += bytes
                } else {
                    let count = choices.choose(below: queue.count + 1)
                    queue.removeFirst(count)
                    model.removeFirst(count)
                }
                try requireEqual(queue.count, model.count, "the count")
                try requireEqual(queue.isEmpty, model.isEmpty, "whether it is empty")
                let seen = queue.withBytes { span in span.indices.map { span[$0] } }
                try requireEqual(seen, model, "the bytes")
                var fresh = ByteQueue()
                fresh.append(model.span)
                try require(fresh == queue && fresh.hashValue == queue.hashValue, "equality")
            }
        }
    }

    @Test func `a queue that is never empty does not grow by what went through it`() {
        var queue = ByteQueue()
        let piece = [UInt8](repeating: 1, count: 1000)
        queue.append(piece.span)
        for _ in 0..<200 {
            queue.append(piece.span)
            queue.removeFirst(1000)
        }
        #expect(queue.count == 1000)
        #expect(queue.storage.capacity <= 8 * 1000)
    }

    @Test(arguments: [true, false])
    func `an empty queue keeps a little memory only, however it became empty`(fromWithin: Bool) {
        var queue = ByteQueue()
        queue.append([UInt8](repeating: 1, count: 100_000).span)
        if fromWithin { queue.remove(0..<100_000) } else { queue.removeFirst(100_000) }
        #expect(queue.isEmpty && queue.storage.capacity <= ByteQueue.keptCapacity)
    }

    @Test func `queues that share spare memory keep their bytes apart`() {
        checkProperty(cases: 150) { choices in
            var spare = SpareMemory()
            var queues = [ByteQueue](repeating: ByteQueue(), count: 6)
            var models = [[UInt8]](repeating: [], count: queues.count)
            for _ in 0..<choices.choose(below: 60) {
                let index = choices.choose(below: queues.count)
                switch choices.choose(below: 5) {
                case 0, 1:
                    queues[index].useMemory(of: &spare)
                    // Some beyond what an empty queue may keep.
                    let bytes = choices.bytes(count: choices.choose(below: 40)).flatMap { byte in
                        [UInt8](repeating: byte, count: 1 + Int(byte))
                    }
                    queues[index].append(bytes.span)
                    models[index] += bytes
                case 2, 3:
                    let all = queues[index].count
                    let count = choices.chance(1, in: 3) ? all : choices.choose(below: all + 1)
                    queues[index].removeFirst(count)
                    models[index].removeFirst(count)
                default:
                    queues[index].trim(giving: &spare)
                }
                for (queue, model) in zip(queues, models) {
                    let seen = queue.withBytes { span in span.indices.map { span[$0] } }
                    try requireEqual(seen, model, "the bytes")
                }
            }
        }
    }

    @Test func `memory that one queue gives is what the next one uses`() {
        var spare = SpareMemory()
        var first = ByteQueue()
        let many = [UInt8](repeating: 1, count: 60_000)
        let few: [UInt8] = [2, 3]
        first.append(many.span)
        let given = address(of: first)
        // What is left needs little of it, and moves.
        first.removeFirst(59_000)
        first.trim(giving: &spare)
        #expect(first.count == 1000)
        var second = ByteQueue()
        second.useMemory(of: &spare)
        second.append(few.span)
        let used = address(of: second)
        #expect(used == given)
        let bytes = second.withBytes { span in span.indices.map { span[$0] } }
        #expect(bytes == few)
    }

    private func address(of queue: ByteQueue) -> UInt {
        queue.withBytes { bytes in unsafe bytes.withUnsafeBufferPointer { UInt(bitPattern: $0.baseAddress) } }
    }

    @Test func `a filler that fails leaves what it had appended, and its error comes out`() {
        struct Failed: Error {}
        var queue = ByteQueue()
        #expect(throws: Failed.self) {
            try queue.append(upTo: 4) { output throws(Failed) in
                output.append(7)
                throw Failed()
            }
        }
        #expect(queue.count == 1)
    }
}

struct RingRelayTests {
    @Test func `no limit is beyond what a queue can hold, whatever a toolstack wrote`() throws {
        var relay = RingRelay(limit: .max)
        #expect(relay.limit == RingRelay.maximumLimit)
        relay.allowRest(of: ConsoleRing(fresh: TestPage(), as: .backend))
        relay.limit = .max
        #expect(relay.limit == RingRelay.maximumLimit)
    }

    @Test func `bytes pass once and in order, never more than the limit waits, and each move notifies (A20, A25)`() {
        checkProperty(cases: 150) { choices in
            let page = TestPage()
            var front = ConsoleRing(fresh: page, as: .frontend)
            var back = ConsoleRing(fresh: page, as: .backend)
            var relay = RingRelay(limit: choices.integer(in: 1...3000))
            var next: UInt8 = 0
            var waiting: [UInt8] = []
            var handedOut: UInt8 = 0
            for _ in 0..<choices.choose(below: 40) {
                switch choices.choose(below: 4) {
                case 0:
                    let bytes = (0..<choices.integer(in: 0...2048)).map { UInt8(truncatingIfNeeded: $0) &+ next }
                    let count = try front.output.write(bytes.span)
                    next = next &+ UInt8(truncatingIfNeeded: count)
                    waiting += bytes[..<count]
                case 1:
                    let before = relay.backlog.count
                    let notifies = relay.drain(&back)
                    try requireEqual(notifies, relay.backlog.count > before, "a notification")
                    try require(relay.backlog.count <= relay.limit, "over the limit")
                    try require(notifies || before == relay.limit || waiting.count == before, "nothing was drained")
                case 2:
                    let count = choices.choose(below: relay.backlog.count + 1)
                    relay.backlog.withBytes { span in
                        for index in 0..<count {
                            if span[index] != handedOut { handedOut = handedOut &+ 128 }
                            handedOut = handedOut &+ 1
                        }
                    }
                    waiting.removeFirst(count)
                    relay.handedOut(count)
                default:
                    let room = relay.room(in: &back)
                    let bytes = [UInt8](repeating: 1, count: choices.choose(below: room + 1))
                    try requireEqual(relay.send(bytes.span, to: &back), !bytes.isEmpty, "a notification")
                    try requireEqual(try takeAll(&front), bytes, "what the frontend got")
                }
                let held = relay.backlog.withBytes { span in span.indices.map { span[$0] } }
                try requireEqual(held, Array(waiting.prefix(held.count)), "the backlog")
            }
        }
    }

    @Test func `what room was found for can be sent, whatever the peer does to its index meanwhile (A31, A32)`() {
        checkProperty(cases: 200) { choices in
            let page = TestPage()
            var back = ConsoleRing(fresh: page, as: .backend)
            var relay = RingRelay(limit: 100)
            for _ in 0..<choices.choose(below: 20) {
                page.storeRelease(
                    choices.integer(in: UInt32.min...UInt32.max, corners: [0, 1, 1024, .max]),
                    at: 3072
                )
                let room = relay.room(in: &back)
                try require(room <= 1024, "more room than the ring has")
                try requireEqual(relay.violation != nil, relay.violation != nil && room == 0, "a violation has no room")
                page.storeRelease(choices.integer(in: UInt32.min...UInt32.max), at: 3072)
                let bytes = [UInt8](repeating: 9, count: choices.choose(below: room + 1))
                _ = relay.send(bytes.span, to: &back)
            }
        }
    }

    @Test func `a violation is counted, moves nothing, leaves the other way open, and heals (A31)`() throws {
        let page = TestPage()
        var back = ConsoleRing(fresh: page, as: .backend)
        var relay = RingRelay(limit: 100)
        page.storeRelease(5000, at: 3084)
        let movedNothing = !relay.drain(&back)
        #expect(movedNothing)
        #expect(relay.violation != nil)
        #expect(relay.statistics.violations == 1)
        #expect(page.loadAcquire(at: 3080) == 0)
        let room = relay.room(in: &back)
        #expect(room == 1024)
        let sent = relay.send(([1, 2, 3] as [UInt8]).span, to: &back)
        #expect(sent)
        page.storeRelease(3, at: 3084)
        let moved = relay.drain(&back)
        #expect(moved)
        #expect(relay.violation == nil)
        #expect(relay.statistics.notifications == 2)
        #expect(relay.statistics.bytesFromRing == 3 && relay.statistics.bytesToRing == 3)
    }

    @Test
    func `nothing moved is nothing to notify, and a violation is over with the next look that succeeds (A24, A31)`()
        throws
    {
        let page = TestPage()
        var back = ConsoleRing(fresh: page, as: .backend)
        var relay = RingRelay(limit: 100)
        let nothing: [UInt8] = []
        let hasSent = relay.send(nothing.span, to: &back)
        let moved = [relay.drain(&back), relay.advance(by: 0, in: &back), hasSent]
        #expect(moved == [false, false, false])
        #expect(relay.statistics == RelayStatistics())
        page.storeRelease(5000, at: 3072)
        var room = relay.room(in: &back)
        #expect(room == 0)
        #expect(relay.violation != nil)
        page.storeRelease(0, at: 3072)
        room = relay.room(in: &back)
        #expect(room == 1024)
        #expect(relay.violation == nil)
        page.storeRelease(5000, at: 3084)
        var buffer = [UInt8](repeating: 0, count: 8)
        var span = buffer.mutableSpan
        var seen = relay.peek(&back, into: &span)
        #expect(seen == 0)
        #expect(relay.violation != nil)
        page.storeRelease(3, at: 3084)
        seen = relay.peek(&back, into: &span)
        #expect(seen == 3)
        #expect(relay.violation == nil && relay.statistics.violations == 2)
    }
}
