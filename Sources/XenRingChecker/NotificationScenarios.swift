// SPDX-License-Identifier: MIT

import XenRing

extension RingScenarios {
    /// The two strands of the notification scenarios, by number.
    private static let producerStrand = 0
    private static let consumerStrand = 1

    /// A producer that notifies only when `needsNotification()` says so, against a consumer that looks at the index
    /// once an event, as xenconsoled and QEMU do, and then sleeps until the next (A17).
    ///
    /// The consumer notifies after each reading that took bytes; the producer sleeps when the ring is full.
    public static func onceAnEvent(capacity: UInt32 = 4, writes: Int, chunk: Int = 3) -> Scenario {
        let layout = layout(capacity: capacity)
        return Scenario(
            "once-an-event-\(capacity)-\(writes)x\(chunk)",
            summary: "conditional notification of a consumer that looks at the index once an event",
            ring: layout,
            start: 0xFFFF_FFFE,
            strands: [
                .init("producer") { memory in
                    guard var producer = try? RingProducer(attaching: memory, layout: layout) else { return }
                    send(writes * chunk, chunk, through: &producer, memory) { producer, _ in
                        producer.needsNotification()
                    }
                },
                .init("consumer") { memory in
                    guard var consumer = try? RingConsumer(attaching: memory, layout: layout) else { return }
                    var received = 0
                    while received < writes * chunk, !memory.isOver {
                        // It took all it knew of, so its index is all there is to it.
                        memory.summarize(UInt64(received))
                        memory.wait()
                        let count = read(Int(capacity), from: &consumer, memory)
                        received += count
                        if count > 0 { memory.notify(producerStrand) }
                    }
                },
            ]
        )
    }

    /// A producer that notifies only a consumer that may be asleep, against one of our own, which looks once more
    /// behind a fence before it sleeps. It asks after every `batch` writes.
    public static func recheck(capacity: UInt32 = 4, writes: Int, chunk: Int = 3, batch: Int = 1) -> Scenario {
        let layout = layout(capacity: capacity)
        return Scenario(
            "recheck-\(capacity)-\(writes)x\(chunk)" + (batch > 1 ? "-by-\(batch)" : ""),
            summary: "conditional notification of a consumer that looks again before it sleeps",
            ring: layout,
            start: 0xFFFF_FFFE,
            strands: [
                .init("producer") { memory in
                    guard var producer = try? RingProducer(attaching: memory, layout: layout) else { return }
                    send(writes * chunk, chunk, batch: batch, through: &producer, memory) { producer, before in
                        producer.mayHaveFallenAsleep(since: before)
                    }
                },
                .init("consumer") { memory in
                    guard var consumer = try? RingConsumer(attaching: memory, layout: layout) else { return }
                    var received = 0
                    while received < writes * chunk, !memory.isOver {
                        memory.summarize(UInt64(received))
                        let count = read(Int(capacity), from: &consumer, memory)
                        received += count
                        if count > 0 {
                            memory.notify(producerStrand)
                        } else if (try? consumer.maySleep()) ?? true {
                            memory.wait()
                        }
                    }
                },
            ]
        )
    }

    /// Sends `total` bytes, `chunk` at a time, and sleeps while there is no room.
    private static func send(
        _ total: Int,
        _ chunk: Int,
        batch: Int = 1,
        through producer: inout RingProducer<CheckedMemory>,
        _ memory: CheckedMemory,
        mustNotify: (inout RingProducer<CheckedMemory>, RingIndex) -> Bool
    ) {
        var sent = 0
        while sent < total, !memory.isOver {
            let before = producer.index
            var count = 0
            for _ in 0..<batch where sent + count < total {
                count += write(min(chunk, total - sent - count), to: &producer, memory)
            }
            sent += count
            if count == 0 {
                memory.wait()
            } else if mustNotify(&producer, before) {
                memory.notify(consumerStrand)
            }
        }
    }
}
