// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenExploration
import XenRing

/// A peer that writes whatever it likes, whenever it likes: into the page before any single access.
struct HostilePeerTests {
    /// One side of a ring that is used while its page changes under it.
    struct Victim {
        let memory = SpyMemory()
        let layout: RingLayout

        init(_ choices: inout Choices) {
            layout = choices.pick(from: tinyLayouts + xenLayouts)
            let start = choices.integer(in: UInt32.min...UInt32.max, corners: cornerIndices)
            memory[word: layout.producerIndex] = start
            memory[word: layout.consumerIndex] = start
        }

        /// Has `peer` write before each access, with a generator of its own that is seeded by a choice.
        func letIn(_ choices: inout Choices) {
            var peer = Choices(seed: UInt64(choices.choose(below: 1 << 32)), recording: false)
            let words = [layout.producerIndex, layout.consumerIndex]
            let capacity = layout.capacity
            memory.intrusion = { page in
                for word in words where peer.bool() {
                    let old = (0..<4).reduce(UInt32(0)) { $0 | UInt32(page[word + $1]) << UInt32(8 * $1) }
                    let near = [old &+ capacity, old &+ capacity &+ 1, old &- 1, old &+ 1, 0, .max, old ^ 0x8000_0000]
                    let value = peer.integer(in: UInt32.min...UInt32.max, corners: near)
                    for byte in 0..<4 { page[word + byte] = UInt8(truncatingIfNeeded: value >> UInt32(8 * byte)) }
                }
                page[peer.choose(below: 3072)] = UInt8(peer.choose(below: 256))
            }
        }
    }

    @Test func `a producer writes only where it may, whatever the peer stores`() {
        checkProperty(cases: 1500) { choices in
            let victim = Victim(&choices)
            var producer = try RingProducer(attaching: victim.memory, layout: victim.layout)
            _ = victim.memory.takeLog()
            victim.letIn(&choices)
            let rules = OperationRules(end: .producer, layout: victim.layout)
            for _ in 0..<choices.integer(in: 1...20) {
                let bytes = Array(repeating: UInt8(7), count: choices.choose(below: Int(victim.layout.capacity) + 3))
                let start = producer.index
                var written = 0
                let all = choices.bool() && bytes.count <= producer.capacity
                do throws(RingViolation) {
                    written = all ? try producer.writeAll(bytes.span) ? bytes.count : 0 : try producer.write(bytes.span)
                } catch {
                    try requireEqual(error.producer, start, "the producer index of the violation")
                    try require(start - error.consumer > victim.layout.capacity, "\(error) is none")
                    try requireEqual(victim.memory.takeLog(), [.loadAcquire(rules.peerIndex)], "accesses")
                    continue
                }
                try require(written <= min(bytes.count, producer.capacity), "wrote \(written)")
                try requireEqual(producer.index, start + written, "the index")
                let log = victim.memory.takeLog()
                let loads = log.first == .loadAcquire(rules.peerIndex)
                try rules.check(log, start: start, copied: written, taken: written, loads: loads)
            }
        }
    }

    @Test func `a producer goes by the last index that it read, when a consumer takes its own back`() throws {
        let memory = SpyMemory()
        memory[word: RingLayout.consoleOut.producerIndex] = 4048
        memory[word: RingLayout.consoleOut.consumerIndex] = 4048
        var producer = try RingProducer(attaching: memory, layout: .consoleOut)
        #expect(try producer.write([1, 2, 3].span) == 3)
        memory[word: RingLayout.consoleOut.consumerIndex] = 2010
        #expect(try producer.freeCapacity() == 7)
        #expect(try producer.write(Array(repeating: UInt8(0), count: 20).span) == 7)
        #expect(try producer.isFull())
    }

    @Test func `a producer that read that there is no room writes nothing, although there was some before`() throws {
        let memory = SpyMemory()
        var producer = RingProducer(fresh: memory, layout: .consoleOut)
        #expect(try producer.write(Array(repeating: UInt8(0), count: 2040).span) == 2040)
        memory[word: RingLayout.consoleOut.consumerIndex] = 2040 &- 2048
        #expect(try producer.write(Array(repeating: UInt8(0), count: 20).span) == 0)
        #expect(try producer.write([1, 2].span) == 0)
        memory[word: RingLayout.consoleOut.consumerIndex] = 5
        #expect(try producer.write(Array(repeating: UInt8(0), count: 20).span) == 13)
    }

    @Test func `a consumer reads only what lies in the ring, whatever the peer stores`() {
        checkProperty(cases: 1500) { choices in
            let victim = Victim(&choices)
            var consumer = try RingConsumer(attaching: victim.memory, layout: victim.layout)
            _ = victim.memory.takeLog()
            victim.letIn(&choices)
            let rules = OperationRules(end: .consumer, layout: victim.layout)
            var promised = 0
            for _ in 0..<choices.integer(in: 1...20) {
                let start = consumer.index
                var copied = 0
                var taken = 0
                do throws(RingViolation) {
                    var bytes = Array(repeating: UInt8(0), count: choices.choose(below: consumer.capacity + 3))
                    var span = bytes.mutableSpan
                    switch choices.choose(below: 4) {
                    case 0:
                        copied = try consumer.read(into: &span)
                        taken = copied
                        promised = max(0, promised - taken)
                    case 1:
                        copied = try consumer.peek(into: &span)
                        promised = max(promised, copied)
                    case 2:
                        promised = max(promised, try consumer.count())
                    default:
                        // What was once shown can be taken, whatever the peer did to its index since.
                        taken = choices.integer(in: 0...promised)
                        consumer.advance(by: taken)
                        promised -= taken
                    }
                } catch {
                    try requireEqual(error.consumer, start, "the consumer index of the violation")
                    try require(error.producer - start > victim.layout.capacity, "\(error) is none")
                    try requireEqual(victim.memory.takeLog(), [.loadAcquire(rules.peerIndex)], "accesses")
                    continue
                }
                try require(copied <= consumer.capacity && promised <= consumer.capacity, "\(copied), \(promised)")
                let log = victim.memory.takeLog()
                let loads = log.first == .loadAcquire(rules.peerIndex)
                try rules.check(log, start: start, copied: copied, taken: taken, loads: loads)
            }
        }
    }

    @Test(arguments: tinyLayouts + xenLayouts)
    func `a bad index is refused at every try, and trusted again when it is sane`(layout: RingLayout) throws {
        for start in cornerIndices {
            for beyond in [layout.capacity &+ 1, layout.capacity &+ 2, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF] {
                try refuseAndHealAsConsumer(layout, start, beyond)
                try refuseAndHealAsProducer(layout, start, beyond)
            }
        }
    }

    private func refuseAndHealAsConsumer(_ layout: RingLayout, _ start: UInt32, _ beyond: UInt32) throws {
        let memory = SpyMemory()
        memory[word: layout.producerIndex] = start
        memory[word: layout.consumerIndex] = start
        var consumer = try RingConsumer(attaching: memory, layout: layout)
        memory[word: layout.producerIndex] = start &+ beyond
        let violation = RingViolation(
            producer: RingIndex(start &+ beyond),
            consumer: RingIndex(start),
            capacity: layout.capacity
        )
        _ = memory.takeLog()
        var bytes = Array(repeating: UInt8(0xEE), count: 5000)
        // The second try must not believe what the first refused.
        for _ in 0..<2 {
            #expect(throws: violation) { try consumer.count() }
            #expect(throws: violation) { try consumer.isEmpty() }
            #expect(throws: violation) { try consumer.isFull() }
            #expect(throws: violation) {
                var span = bytes.mutableSpan
                _ = try consumer.read(into: &span)
            }
            #expect(throws: violation) {
                var span = bytes.mutableSpan
                _ = try consumer.peek(into: &span)
            }
            #expect(throws: violation) { _ = try [UInt8](capacity: 9) { _ = try consumer.read(appendingTo: &$0) } }
        }
        #expect(memory.takeLog() == Array(repeating: .loadAcquire(layout.producerIndex), count: 12))
        #expect(bytes.allSatisfy { $0 == 0xEE })
        #expect(throws: violation) { _ = try RingConsumer(attaching: memory, layout: layout) }
        memory[word: layout.producerIndex] = start &+ layout.capacity
        var span = bytes.mutableSpan
        let read = try consumer.read(into: &span)
        #expect(read == Int(layout.capacity))
        #expect(memory[word: layout.consumerIndex] == start &+ layout.capacity)
    }

    private func refuseAndHealAsProducer(_ layout: RingLayout, _ start: UInt32, _ beyond: UInt32) throws {
        let memory = SpyMemory()
        memory[word: layout.producerIndex] = start
        memory[word: layout.consumerIndex] = start &- layout.capacity
        // Full as far as it knows, so that it has to look.
        var producer = try RingProducer(attaching: memory, layout: layout)
        memory[word: layout.consumerIndex] = start &- beyond
        let violation = RingViolation(
            producer: RingIndex(start),
            consumer: RingIndex(start &- beyond),
            capacity: layout.capacity
        )
        _ = memory.takeLog()
        for _ in 0..<2 {
            #expect(throws: violation) { try producer.freeCapacity() }
            #expect(throws: violation) { try producer.isFull() }
            #expect(throws: violation) { try producer.isEmpty() }
            #expect(throws: violation) { _ = try producer.write([1].span) }
            #expect(throws: violation) { _ = try producer.writeAll([1].span) }
        }
        #expect(memory.takeLog() == Array(repeating: .loadAcquire(layout.consumerIndex), count: 10))
        #expect(throws: violation) { _ = try RingProducer(attaching: memory, layout: layout) }
        memory[word: layout.consumerIndex] = start
        let capacity = Int(layout.capacity)
        let written = try producer.write(Array(repeating: 1, count: capacity + 1).span)
        #expect(written == capacity)
    }

    @Test func `bytes that were peeked can be taken although the producer took its index back`() throws {
        let memory = SpyMemory()
        memory[word: 3084] = 10
        var consumer = try RingConsumer(attaching: memory, layout: .consoleOut)
        let seen = try consumer.count()
        memory[word: 3084] = 4
        #expect(try consumer.count() == 10)
        consumer.advance(by: seen)
        #expect(memory[word: 3080] == 10)
        #expect(throws: RingViolation.self) { try consumer.count() }
    }

    @Test func `a zero-length operation looks at nothing`() throws {
        let memory = SpyMemory()
        var producer = RingProducer(fresh: memory, layout: .consoleOut)
        var consumer = RingConsumer(fresh: memory, layout: .consoleOut)
        memory[word: 3080] = 77
        memory[word: 3084] = 99
        var none: [UInt8] = []
        let empty: [UInt8] = []
        var span = none.mutableSpan
        #expect(try producer.write(empty.span) == 0)
        #expect(try producer.writeAll(empty.span))
        let read = try consumer.read(into: &span)
        let peeked = try consumer.peek(into: &span)
        consumer.advance(by: 0)
        #expect(read == 0 && peeked == 0)
        #expect(memory.takeLog().isEmpty)
    }
}
