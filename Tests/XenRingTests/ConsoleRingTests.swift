// SPDX-License-Identifier: MIT

import Synchronization
import TestSupport
import Testing
import XenExploration
import XenRing

struct ConsoleRingTests {
    @Test func `the offsets are those of the C headers`() {
        #expect(RingLayout.consoleIn == RingLayout(data: 0, capacity: 1024, consumerIndex: 3072, producerIndex: 3076))
        #expect(
            RingLayout.consoleOut == RingLayout(data: 1024, capacity: 2048, consumerIndex: 3080, producerIndex: 3084)
        )
        #expect(
            RingLayout.xenstoreRequest == RingLayout(data: 0, capacity: 1024, consumerIndex: 2048, producerIndex: 2052)
        )
        #expect(
            RingLayout.xenstoreResponse
                == RingLayout(data: 1024, capacity: 1024, consumerIndex: 2056, producerIndex: 2060)
        )
        #expect(ConsoleConnection.offset == 3088)
        #expect(ConsoleConnection.connected.rawValue == 0)
        #expect(ConsoleConnection.disconnected.rawValue == 1)
        #expect(SharedPage.size == 4096)
    }

    @Test func `an atomic integer has the layout of the integer`() {
        #expect(MemoryLayout<Atomic<UInt32>>.size == 4)
        #expect(MemoryLayout<Atomic<UInt32>>.stride == 4)
        #expect(MemoryLayout<Atomic<UInt32>>.alignment == 4)
        #expect(MemoryLayout<Atomic<UInt8>>.size == 1)
        #expect(MemoryLayout<Atomic<UInt8>>.stride == 1)
        #expect(MemoryLayout<Atomic<UInt8>>.alignment == 1)
    }

    @Test func `what one role produces the other consumes`() throws {
        #expect(ConsoleRole.frontend.output == ConsoleRole.backend.input)
        #expect(ConsoleRole.backend.output == ConsoleRole.frontend.input)
        #expect(ConsoleRole.frontend.output == .consoleOut)
        let memory = SpyMemory()
        var frontend = ConsoleRing(fresh: memory, as: .frontend)
        var backend = try ConsoleRing(attaching: memory, as: .backend)
        #expect(try frontend.output.write([1, 2, 3].span) == 3)
        #expect(try backend.output.write([9].span) == 1)
        #expect(memory.page[1024..<1027] == [1, 2, 3])
        #expect(memory.page[0] == 9)
        let seen = [try backend.input.count(), try frontend.input.count()]
        #expect(seen == [3, 1])
    }

    @Test(arguments: UInt8.min...UInt8.max)
    func `only a connection byte of exactly 1 means disconnected`(byte: UInt8) {
        let memory = SpyMemory()
        memory.page[3088] = byte
        let frontend = ConsoleRing(fresh: memory, as: .frontend)
        #expect(frontend.connection == (byte == 1 ? .disconnected : .connected))
        #expect(memory.takeLog() == [.loadByte(3088)])
    }

    @Test func `the connection byte alone is written, and by the backend alone`() async {
        let memory = SpyMemory()
        let backend = ConsoleRing(fresh: memory, as: .backend)
        backend.setConnection(.disconnected)
        backend.setConnection(.connected)
        #expect(memory.takeLog() == [.storeByte(3088, 1), .storeByte(3088, 0)])
        await #expect(processExitsWith: .failure) {
            ConsoleRing(fresh: SpyMemory(), as: .frontend).setConnection(.connected)
        }
    }

    @Test func `a violation in one direction leaves the other working`() throws {
        for role in [ConsoleRole.frontend, .backend] {
            let memory = SpyMemory()
            var ring = ConsoleRing(fresh: memory, as: role)
            memory[word: role.input.producerIndex] = 5000
            #expect(throws: RingViolation.self) { try ring.input.count() }
            #expect(try ring.output.write([1].span) == 1)
            memory[word: role.input.producerIndex] = 1
            memory[word: role.output.consumerIndex] = 5000
            #expect(throws: RingViolation.self) { try ring.output.freeCapacity() }
            #expect(try ring.input.count() == 1)
        }
    }

    @Test func `a page with bad indices is not attached to`() {
        for word in [3072, 3076, 3080, 3084] {
            for role in [ConsoleRole.frontend, .backend] {
                let memory = SpyMemory()
                memory[word: word] = 0x1000
                #expect(throws: RingViolation.self) { _ = try ConsoleRing(attaching: memory, as: role) }
                let writes = memory.takeLog().filter { if case .storeRelease = $0 { true } else { false } }
                #expect(writes.isEmpty)
            }
        }
    }

    @Test func `the text of a violation names both indices and the size`() {
        let violation = RingViolation(producer: RingIndex(5000), consumer: RingIndex(1), capacity: 2048)
        #expect(violation.description == "ring indices out of range: producer 5000, consumer 1, capacity 2048")
    }
}

/// What the caller does wrong is a trap.
struct MisuseTests {
    @Test func `a capacity that is no power of two`() async {
        await #expect(processExitsWith: .failure) {
            _ = RingLayout(data: 0, capacity: 1000, consumerIndex: 3072, producerIndex: 3076)
        }
        await #expect(processExitsWith: .failure) {
            _ = RingLayout(data: 0, capacity: 0, consumerIndex: 3072, producerIndex: 3076)
        }
    }

    @Test func `an index that is not aligned, or inside the data`() async {
        await #expect(processExitsWith: .failure) {
            _ = RingLayout(data: 0, capacity: 1024, consumerIndex: 3073, producerIndex: 3076)
        }
        await #expect(processExitsWith: .failure) {
            _ = RingLayout(data: 0, capacity: 1024, consumerIndex: 1020, producerIndex: 3076)
        }
        await #expect(processExitsWith: .failure) {
            _ = RingLayout(data: 16, capacity: 1024, consumerIndex: 8, producerIndex: 8)
        }
    }

    @Test func `taking what was never seen`() async {
        await #expect(processExitsWith: .failure) {
            var consumer = RingConsumer(fresh: SpyMemory(), layout: .consoleIn)
            consumer.advance(by: 1)
        }
        await #expect(processExitsWith: .failure) {
            var consumer = RingConsumer(fresh: SpyMemory(), layout: .consoleIn)
            consumer.advance(by: -1)
        }
    }

    @Test func `all or nothing of more than the ring can hold`() async {
        await #expect(processExitsWith: .failure) {
            var producer = RingProducer(fresh: SpyMemory(), layout: .consoleIn)
            _ = try producer.writeAll(Array(repeating: 0, count: 1025).span)
        }
    }

    @Test func `a page that is not aligned`() async {
        await #expect(processExitsWith: .failure) {
            let memory = UnsafeMutableRawPointer.allocate(byteCount: 8192, alignment: 4096)
            _ = unsafe SharedPage(base: memory + 4)
        }
    }
}
