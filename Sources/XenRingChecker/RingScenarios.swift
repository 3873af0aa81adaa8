// SPDX-License-Identifier: MIT

public import XenRing

/// The scenarios that the shipped ring is proven in.
///
/// The byte of each index is a function of the index, so that whoever reads can tell on the spot whether it is
/// the right one: in order, once, and never before it was written, across restarts as well. Rings are small and
/// every scenario moves more than fits, since a byte that is never overwritten proves nothing.
public enum RingScenarios {
    /// A ring of `capacity` bytes with its indices apart, as a page would have it.
    public static func layout(capacity: UInt32) -> RingLayout {
        RingLayout(data: 64, capacity: capacity, consumerIndex: 0, producerIndex: 4)
    }

    /// The byte that belongs to an index.
    static func byte(_ index: RingIndex) -> UInt8 {
        UInt8(truncatingIfNeeded: index.rawValue &+ 1)
    }

    static func bytes(from index: RingIndex, count: Int) -> [UInt8] {
        (0..<count).map { byte(index + $0) }
    }

    /// Operations of `chunk` bytes at both ends; everything in every order.
    ///
    /// Start near 2^31 or 2^32 to cross it.
    public static func plain(
        capacity: UInt32 = 4,
        writes: Int,
        reads: Int,
        chunk: Int = 3,
        start: UInt32 = 0xFFFF_FFFE
    ) -> Scenario {
        let layout = layout(capacity: capacity)
        return Scenario(
            "plain-\(capacity)-\(writes)x\(reads)x\(chunk)-\(String(start, radix: 16))",
            summary: "\(writes) writes and \(reads) reads of \(chunk) bytes on a ring of \(capacity), from \(start)",
            ring: layout,
            start: start,
            strands: [
                .init("producer") { memory in
                    guard var producer = try? RingProducer(attaching: memory, layout: layout) else { return }
                    for _ in 0..<writes where !memory.isOver { _ = write(chunk, to: &producer, memory) }
                },
                .init("consumer") { memory in
                    guard var consumer = try? RingConsumer(attaching: memory, layout: layout) else { return }
                    for _ in 0..<reads where !memory.isOver { _ = read(chunk, from: &consumer, memory) }
                },
            ]
        )
    }

    /// Either end stops dead before any of its accesses, starts again, and goes on from what the page says.
    ///
    /// The consumer peeks and takes in two operations, so that a crash between them repeats bytes.
    public static func restart(capacity: UInt32 = 4, operations: Int, chunk: Int = 3, crash: RingEnd) -> Scenario {
        let layout = layout(capacity: capacity)
        return Scenario(
            "restart-\(crash)-\(capacity)-\(operations)x\(chunk)",
            summary: "\(operations) operations of \(chunk) bytes at both ends, the \(crash) crashing at any point",
            ring: layout,
            start: 0xFFFF_FFFE,
            strands: [
                .init("producer", mayCrash: crash == .producer) { memory in
                    var left = operations
                    // One life, and after a crash another.
                    for _ in 0..<2 {
                        if var producer = try? RingProducer(attaching: memory, layout: layout) {
                            while left > 0, !memory.isOver, !memory.isDown {
                                left -= 1
                                _ = write(chunk, to: &producer, memory)
                            }
                        }
                        if !memory.restarted() { return }
                    }
                },
                .init("consumer", mayCrash: crash == .consumer) { memory in
                    var left = operations
                    for _ in 0..<2 {
                        if var consumer = try? RingConsumer(attaching: memory, layout: layout) {
                            while left > 0, !memory.isOver, !memory.isDown {
                                left -= 1
                                peekAndTake(chunk, from: &consumer, memory)
                            }
                        }
                        if !memory.restarted() { return }
                    }
                },
            ]
        )
    }

    /// The backend takes what is there, says that it is gone, and the frontend that hears it looks what was taken.
    ///
    /// Once it says `.disconnected`, a frontend may count the bytes that nobody will read; acquire and release on
    /// the byte are there for that.
    public static func farewell() -> Scenario {
        let layout = RingLayout.consoleOut
        return Scenario(
            "farewell",
            summary: "a frontend that sees the backend gone knows which of its bytes were taken",
            locations: [
                .init(layout.consumerIndex, "out_cons"), .init(layout.producerIndex, "out_prod"),
                .init(RingLayout.consoleIn.consumerIndex, "in_cons"),
                .init(RingLayout.consoleIn.producerIndex, "in_prod"),
                .init(ConsoleConnection.offset, "connection"),
            ],
            // More of the ring is not touched.
            data: layout.data..<(layout.data + 4),
            layout: layout,
            strands: [
                .init("frontend") { memory in
                    var ring = ConsoleRing(fresh: memory, as: .frontend)
                    _ = write(2, to: &ring.output, memory)
                    guard ring.connection == .disconnected, !memory.isOver else { return }
                    guard let free = try? ring.output.freeCapacity() else { return }
                    let taken = RingIndex(memory.newest(at: layout.consumerIndex)) - RingIndex(0)
                    memory.expect(
                        free == ring.output.capacity - 2 + Int(taken),
                        "the backend is gone and had taken \(taken) bytes, but \(free) are said to be free"
                    )
                },
                .init("backend") { memory in
                    var ring = ConsoleRing(fresh: memory, as: .backend)
                    _ = read(2, from: &ring.input, memory)
                    ring.setConnection(.disconnected)
                },
            ]
        )
    }
}

/// An end of a ring.
public enum RingEnd: String, Hashable, Sendable, CustomStringConvertible {
    /// The writing end.
    case producer
    /// The reading end.
    case consumer

    /// Its name.
    public var description: String { rawValue }
}

// MARK: - Operations with their checks

extension RingScenarios {
    /// Writes the bytes that belong to the producer's next indices; returns how many went in.
    static func write(
        _ count: Int,
        to producer: inout RingProducer<CheckedMemory>,
        _ memory: CheckedMemory
    ) -> Int {
        do throws(RingViolation) {
            let written = try producer.write(bytes(from: producer.index, count: count).span)
            memory.expect(written <= count, "wrote \(written) of \(count) bytes")
            return written
        } catch {
            memory.expect(false, "\(error)")
            return 0
        }
    }

    /// Reads and compares; returns how many bytes came out.
    static func read(
        _ count: Int,
        from consumer: inout RingConsumer<CheckedMemory>,
        _ memory: CheckedMemory
    ) -> Int {
        let start = consumer.index
        var buffer = Array(repeating: UInt8(0), count: count)
        var span = buffer.mutableSpan
        do throws(RingViolation) {
            let read = try consumer.read(into: &span)
            check(buffer, read, from: start, memory)
            return read
        } catch {
            memory.expect(false, "\(error)")
            return 0
        }
    }

    static func peekAndTake(
        _ count: Int,
        from consumer: inout RingConsumer<CheckedMemory>,
        _ memory: CheckedMemory
    ) {
        let start = consumer.index
        var buffer = Array(repeating: UInt8(0), count: count)
        var span = buffer.mutableSpan
        do throws(RingViolation) {
            let seen = try consumer.peek(into: &span)
            check(buffer, seen, from: start, memory)
            if !memory.isDown { consumer.advance(by: seen) }
        } catch {
            memory.expect(false, "\(error)")
        }
    }

    static func check(_ buffer: [UInt8], _ count: Int, from start: RingIndex, _ memory: CheckedMemory) {
        let found = Array(buffer.prefix(count))
        let expected = bytes(from: start, count: count)
        memory.expect(found == expected, "read \(found) at index \(start.rawValue), expected \(expected)")
    }
}
