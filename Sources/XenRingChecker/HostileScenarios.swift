// SPDX-License-Identifier: MIT

import XenRing

extension RingScenarios {
    /// An end in use while its peer stores what it likes into either index, whenever it likes.
    ///
    /// Races on data are the peer's own doing and do not count. What counts: no access outside the ring, no more bytes
    /// moved than fit or were asked for, no trap, and the own index moving by exactly the bytes moved.
    public static func hostile(against end: RingEnd, stores: Int = 2, operations: Int = 2) -> Scenario {
        let layout = layout(capacity: 4)
        let start: UInt32 = 0xFFFF_FFFE
        let values = [start &+ 4, start &+ 5, start &- 1, start &+ 0x8000_0000, start &+ 1, 0]
        var scenario = Scenario(
            "hostile-\(end)-\(stores)-\(operations)",
            summary: "\(operations) operations of the \(end) while the peer makes \(stores) stores of its choice",
            ring: layout,
            start: start,
            strands: [
                .init("\(end)") { memory in
                    switch end {
                    case .producer:
                        guard var producer = try? RingProducer(attaching: memory, layout: layout) else { return }
                        for _ in 0..<operations where !memory.isOver { attacked(&producer, memory) }
                    case .consumer:
                        guard var consumer = try? RingConsumer(attaching: memory, layout: layout) else { return }
                        for _ in 0..<operations where !memory.isOver { attacked(&consumer, memory) }
                    }
                },
                .init("peer") { memory in
                    for _ in 0..<stores where !memory.isOver {
                        let offset = [layout.producerIndex, layout.consumerIndex][memory.choose(below: 2)]
                        memory.store(values[memory.choose(below: values.count)], at: offset, .relaxed)
                    }
                },
            ]
        )
        scenario.checksRaces = false
        return scenario
    }

    private static func attacked(_ producer: inout RingProducer<CheckedMemory>, _ memory: CheckedMemory) {
        let before = producer.index
        let written = (try? producer.write(bytes(from: before, count: 5).span)) ?? 0
        memory.expect(written <= 4 && producer.index - before == UInt32(written), "wrote \(written)")
        _ = producer.needsNotification()
        _ = producer.mayHaveFallenAsleep(since: before)
    }

    private static func attacked(_ consumer: inout RingConsumer<CheckedMemory>, _ memory: CheckedMemory) {
        var buffer = Array(repeating: UInt8(0), count: 5)
        var span = buffer.mutableSpan
        let seen = (try? consumer.peek(into: &span)) ?? 0
        let before = consumer.index
        _ = try? consumer.maySleep()
        // What was seen can be taken, whatever the peer stored in between.
        consumer.advance(by: seen)
        memory.expect(seen <= 4 && consumer.index - before == UInt32(seen), "took \(seen)")
        let taken = consumer.index
        let read = (try? consumer.read(into: &span)) ?? 0
        memory.expect(read <= 4 && consumer.index - taken == UInt32(read), "read \(read)")
    }
}
