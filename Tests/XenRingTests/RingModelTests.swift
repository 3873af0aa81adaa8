// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenExploration
import XenRing

/// Both ends of a ring over spy memory, next to a plain queue.
struct RingUnderTest: StatefulProperty, ~Copyable {
    struct Model {
        let layout: RingLayout
        let start: UInt32
        var queue: [UInt8] = []
        var written: UInt32 = 0
        var nextByte: UInt8 = 0
        /// What each end knows without looking: free bytes and bytes to read.
        var knownFree = 0
        var knownCount = 0
    }

    enum Command {
        case write(Int), writeAll(Int), freeCapacity, producerIsFull, producerIsEmpty, needsNotification, asleep(Int)
        case read(Int, Destination), peek(Int), advance(Int), count, consumerIsEmpty, consumerIsFull, maySleep
        case restartProducer, restartConsumer
    }

    enum Destination: CaseIterable { case raw, bytes, output }

    let memory: SpyMemory
    let layout: RingLayout
    var producer: RingProducer<SpyMemory>
    var consumer: RingConsumer<SpyMemory>

    static func model(from choices: inout Choices) -> Model {
        let layout = choices.pick(from: tinyLayouts + xenLayouts)
        let start = choices.integer(in: UInt32.min...UInt32.max, corners: cornerIndices)
        return Model(layout: layout, start: start, knownFree: Int(layout.capacity))
    }

    init(_ model: Model) {
        memory = SpyMemory()
        layout = model.layout
        memory[word: layout.producerIndex] = model.start
        memory[word: layout.consumerIndex] = model.start
        guard let producer = try? RingProducer(attaching: memory, layout: layout),
            let consumer = try? RingConsumer(attaching: memory, layout: layout)
        else { preconditionFailure("equal indices are valid") }
        self.producer = producer
        self.consumer = consumer
        _ = memory.takeLog()
    }

    static func command(for model: Model, from choices: inout Choices) -> Command {
        let capacity = Int(model.layout.capacity)
        let corners = [0, 1, capacity - 1, capacity, capacity - model.queue.count, model.queue.count]
        let count = max(0, choices.integer(in: 0...min(capacity + 3, 40), corners: corners))
        switch choices.index(weights: [8, 4, 2, 1, 1, 2, 8, 4, 4, 2, 1, 1, 1, 1, 2, 1]) {
        case 0: return .write(count)
        case 1: return .writeAll(min(count, capacity))
        case 2: return .freeCapacity
        case 3: return .producerIsFull
        case 4: return .producerIsEmpty
        case 5: return .needsNotification
        case 6: return .read(count, choices.pick(from: Destination.allCases))
        case 7: return .peek(count)
        case 8: return .advance(min(count, model.knownCount))
        case 9: return .count
        case 10: return .consumerIsEmpty
        case 11: return .consumerIsFull
        case 12: return .restartProducer
        case 13: return .restartConsumer
        case 14: return .asleep(count)
        default: return .maySleep
        }
    }

    mutating func apply(_ command: Command, to model: inout Model) throws {
        switch command {
        case .write(let count): try write(count, all: false, &model)
        case .writeAll(let count): try write(count, all: true, &model)
        case .freeCapacity, .producerIsFull, .producerIsEmpty, .needsNotification, .asleep:
            try lookAsProducer(command, &model)
        case .read(let count, let destination): try read(count, destination, &model)
        case .peek(let count): try peek(count, &model)
        case .advance(let count): try advance(count, &model)
        case .count, .consumerIsEmpty, .consumerIsFull, .maySleep: try lookAsConsumer(command, &model)
        case .restartProducer, .restartConsumer: try restart(command, &model)
        }
    }

    func checkInvariants(_ model: Model) throws {
        let end = model.start &+ model.written
        try requireEqual(producer.index.rawValue, end, "the producer's index")
        try requireEqual(memory[word: layout.producerIndex], end, "its index in the page")
        try requireEqual(consumer.index.rawValue, end &- UInt32(model.queue.count), "the consumer's index")
        try requireEqual(memory[word: layout.consumerIndex], consumer.index.rawValue, "its index in the page")
    }
}

extension RingUnderTest {
    mutating func write(_ count: Int, all: Bool, _ model: inout Model) throws {
        let bytes = (0..<count).map { model.nextByte &+ UInt8(truncatingIfNeeded: $0) }
        let start = producer.index
        let loads = model.knownFree < count
        let free = Int(layout.capacity) - model.queue.count
        if loads { model.knownFree = free }
        let written: Int
        if all {
            written = try producer.writeAll(bytes.span) ? count : 0
            try requireEqual(written, count <= free ? count : 0, "written, all or nothing")
        } else {
            written = try producer.write(bytes.span)
            try requireEqual(written, min(count, free), "written")
        }
        try OperationRules(end: .producer, layout: layout)
            .check(memory.takeLog(), start: start, copied: written, taken: written, loads: loads)
        model.queue += bytes.prefix(written)
        model.nextByte &+= UInt8(truncatingIfNeeded: written)
        model.written &+= UInt32(written)
        model.knownFree -= written
    }

    mutating func lookAsProducer(_ command: Command, _ model: inout Model) throws {
        let free = Int(layout.capacity) - model.queue.count
        switch command {
        case .freeCapacity:
            try requireEqual(try producer.freeCapacity(), free, "free")
        case .producerIsEmpty:
            try requireEqual(try producer.isEmpty(), model.queue.isEmpty, "empty")
        case .producerIsFull:
            let known = model.knownFree > 0
            try requireEqual(try producer.isFull(), free == 0, "full")
            if known { return try requireEqual(memory.takeLog(), [], "accesses") }
        case .needsNotification:
            try requireEqual(producer.needsNotification(), !model.queue.isEmpty, "to notify")
            return try requireEqual(memory.takeLog(), [.loadRelaxed(layout.consumerIndex)], "accesses")
        case .asleep(let count):
            // A consumer that had drained everything before the last `count` bytes, and has not taken them all.
            let asleep = producer.mayHaveFallenAsleep(since: producer.index + -count)
            try requireEqual(asleep, !model.queue.isEmpty && model.queue.count <= count, "may sleep")
            let expected: [Access] = [.fence, .loadRelaxed(layout.consumerIndex)]
            return try requireEqual(memory.takeLog(), expected, "accesses")
        default:
            return
        }
        model.knownFree = free
        try requireEqual(memory.takeLog(), [.loadAcquire(layout.consumerIndex)], "accesses")
    }

    mutating func read(_ count: Int, _ destination: Destination, _ model: inout Model) throws {
        let start = consumer.index
        let loads = model.knownCount < count
        if loads { model.knownCount = model.queue.count }
        let bytes = try take(count, destination)
        try requireEqual(bytes.count, min(count, model.queue.count, model.knownCount), "read")
        try requireEqual(bytes[...], model.queue.prefix(bytes.count), "the bytes")
        try OperationRules(end: .consumer, layout: layout)
            .check(memory.takeLog(), start: start, copied: bytes.count, taken: bytes.count, loads: loads)
        model.queue.removeFirst(bytes.count)
        model.knownCount -= bytes.count
    }

    private mutating func take(_ count: Int, _ destination: Destination) throws -> [UInt8] {
        var bytes = Array(repeating: UInt8(0), count: count)
        let read: Int
        switch destination {
        case .raw:
            var span = bytes.mutableSpan
            var raw = unsafe span.mutableBytes
            read = try consumer.read(into: &raw)
        case .bytes:
            var span = bytes.mutableSpan
            read = try consumer.read(into: &span)
        case .output:
            var read = 0
            let appended = try [UInt8](capacity: count + 1) { output in
                // What is there already stays.
                output.append(0xEE)
                read = try consumer.read(appendingTo: &output)
            }
            try requireEqual(appended.count, read + 1, "appended")
            try requireEqual(appended[0], 0xEE, "what was there")
            return Array(appended.dropFirst())
        }
        return Array(bytes.prefix(read))
    }

    mutating func peek(_ count: Int, _ model: inout Model) throws {
        let start = consumer.index
        let loads = model.knownCount < count
        if loads { model.knownCount = model.queue.count }
        var bytes = Array(repeating: UInt8(0), count: count)
        var span = bytes.mutableSpan
        let seen = try consumer.peek(into: &span)
        try requireEqual(seen, min(count, model.knownCount), "peeked")
        try requireEqual(bytes[..<seen], model.queue.prefix(seen), "the bytes")
        try OperationRules(end: .consumer, layout: layout)
            .check(memory.takeLog(), start: start, copied: seen, taken: 0, loads: loads)
    }

    mutating func advance(_ count: Int, _ model: inout Model) throws {
        let start = consumer.index
        consumer.advance(by: count)
        try OperationRules(end: .consumer, layout: layout)
            .check(memory.takeLog(), start: start, copied: 0, taken: count, loads: false)
        model.queue.removeFirst(count)
        model.knownCount -= count
    }

    mutating func lookAsConsumer(_ command: Command, _ model: inout Model) throws {
        switch command {
        case .count:
            try requireEqual(try consumer.count(), model.queue.count, "count")
        case .consumerIsFull:
            try requireEqual(try consumer.isFull(), model.queue.count == Int(layout.capacity), "full")
        case .consumerIsEmpty:
            let known = model.knownCount > 0
            try requireEqual(try consumer.isEmpty(), model.queue.isEmpty, "empty")
            if known { return try requireEqual(memory.takeLog(), [], "accesses") }
        case .maySleep:
            try requireEqual(try consumer.maySleep(), model.queue.isEmpty, "may sleep")
            model.knownCount = model.queue.count
            return try requireEqual(memory.takeLog(), [.fence, .loadAcquire(layout.producerIndex)], "accesses")
        default:
            return
        }
        model.knownCount = model.queue.count
        try requireEqual(memory.takeLog(), [.loadAcquire(layout.producerIndex)], "accesses")
    }

    /// A side that starts again learns both indices from the page, each read once, and nothing else.
    mutating func restart(_ command: Command, _ model: inout Model) throws {
        if case .restartProducer = command {
            producer = try RingProducer(attaching: memory, layout: layout)
            model.knownFree = Int(layout.capacity) - model.queue.count
            let expected: [Access] = [.loadRelaxed(layout.producerIndex), .loadAcquire(layout.consumerIndex)]
            return try requireEqual(memory.takeLog(), expected, "accesses")
        }
        consumer = try RingConsumer(attaching: memory, layout: layout)
        model.knownCount = model.queue.count
        let expected: [Access] = [.loadRelaxed(layout.consumerIndex), .loadAcquire(layout.producerIndex)]
        try requireEqual(memory.takeLog(), expected, "accesses")
    }
}

struct RingModelTests {
    @Test func `a ring is a queue, and each operation keeps to its accesses`() {
        checkStatefulProperty(RingUnderTest.self, cases: 600, length: 60)
    }

    @Test(arguments: tinyLayouts)
    func `every position, fill and length, around every corner`(layout: RingLayout) throws {
        let capacity = Int(layout.capacity)
        for corner in cornerIndices {
            for shift in 0..<UInt32(capacity) {
                for fill in 0...capacity {
                    for count in 0...(capacity + 1) {
                        try oneWriteOneRead(layout, start: corner &+ shift, fill: fill, count: count)
                    }
                }
            }
        }
    }

    private func oneWriteOneRead(_ layout: RingLayout, start: UInt32, fill: Int, count: Int) throws {
        var model = RingUnderTest.Model(layout: layout, start: start, knownFree: Int(layout.capacity))
        var ring = RingUnderTest(model)
        for command: RingUnderTest.Command in [
            .write(fill), .write(count), .count, .producerIsFull, .consumerIsFull, .read(count, .bytes), .write(count),
            .read(Int(layout.capacity), .raw), .consumerIsEmpty, .producerIsEmpty,
        ] {
            try ring.apply(command, to: &model)
            try ring.checkInvariants(model)
        }
        #expect(model.queue.isEmpty)
    }

    @Test func `a fresh end touches nothing until it is used`() throws {
        let memory = SpyMemory()
        var producer = RingProducer(fresh: memory, layout: .consoleOut)
        var consumer = RingConsumer(fresh: memory, layout: .consoleOut)
        #expect(memory.takeLog().isEmpty)
        #expect(producer.capacity == 2048 && consumer.capacity == 2048)
        let hello = Array("hello".utf8)
        #expect(try producer.write(hello.span) == 5)
        #expect(memory.takeLog() == [.copyIn(1024..<1029), .storeRelease(3084, 5)])
        #expect(try consumer.count() == 5)
        #expect(memory.takeLog() == [.loadAcquire(3084)])
    }
}
