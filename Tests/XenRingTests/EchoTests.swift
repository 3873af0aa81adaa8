// SPDX-License-Identifier: MIT

import Foundation
import TestSupport
import Testing
import XenExploration
import XenRing

/// What `ConsoleRing.echo()` gives back, where it reads and writes, and in which order.
struct EchoTests {
    @Test func `an echo among writes and reads gives back in order what there is room for`() {
        checkProperty(cases: 300) { try exchange(&$0, over: SpyMemory()) }
        checkProperty(cases: 300) { choices in
            let memory = GuardedPage()
            try exchange(&choices, over: memory.page)
            try require(memory.guardsAreIntact, "touched what is beside the page")
        }
    }

    /// One side echoes, and writes of its own at times; the other writes and reads: two queues are the model.
    private func exchange(_ choices: inout Choices, over memory: some RingMemory) throws {
        let role = choices.bool() ? ConsoleRole.frontend : .backend
        for layout in [role.input, role.output] {
            let start = choices.integer(in: UInt32.min...UInt32.max, corners: cornerIndices)
            memory.storeRelease(start, at: layout.producerIndex)
            memory.storeRelease(start, at: layout.consumerIndex)
        }
        var ring = try ConsoleRing(attaching: memory, as: role)
        var peer = try ConsoleRing(attaching: memory, as: role == .frontend ? .backend : .frontend)
        var (there, back): ([UInt8], [UInt8]) = ([], [])
        var next: UInt8 = 0
        for _ in 0..<choices.integer(in: 1...40) {
            let length = choices.integer(in: 0...2100, corners: [1, 255, 256, 257, 1023, 1024, 2047, 2048])
            let bytes = (0..<length).map { next &+ UInt8(truncatingIfNeeded: $0 &* 7) }
            switch choices.choose(below: 5) {
            case 0, 1:
                let written = try peer.output.write(bytes.span)
                there += bytes.prefix(written)
            case 2:
                let given = try ring.echo()
                try requireEqual(given, min(there.count, ring.output.capacity - back.count), "given back")
                back += there.prefix(given)
                there.removeFirst(given)
            case 3:
                let written = try ring.output.write(bytes.span)
                try requireEqual(written, min(length, ring.output.capacity - back.count), "written beside an echo")
                back += bytes.prefix(written)
            default:
                let read = try [UInt8](capacity: length) { output in _ = try peer.input.read(appendingTo: &output) }
                try requireEqual(read, Array(back.prefix(length)), "what came back")
                back.removeFirst(read.count)
            }
            next &+= 13
        }
    }

    @Test func `an echo touches what it may, and says so after that, whatever the peer stores`() {
        checkProperty(cases: 1500) { choices in
            let memory = SpyMemory()
            let role = choices.bool() ? ConsoleRole.frontend : .backend
            var ring = ConsoleRing(fresh: memory, as: role)
            var peer = Choices(seed: UInt64(choices.choose(below: 1 << 32)), recording: false)
            let words = [role.input.producerIndex, role.output.consumerIndex]
            memory.intrusion = { page in
                for word in words where peer.bool() {
                    let value = UInt32(peer.integer(in: 0...2050, corners: [0, 1, 1024, 1025, 2048, 2049]))
                    for byte in 0..<4 { page[word + byte] = UInt8(truncatingIfNeeded: value >> UInt32(8 * byte)) }
                }
            }
            for _ in 0..<choices.integer(in: 1...10) {
                let before = (ring.input.index, ring.output.index)
                let count = (try? ring.echo()) ?? 0
                try requireEqual(ring.input.index, before.0 + count, "taken")
                try requireEqual(ring.output.index, before.1 + count, "given")
                let wrong = rest(of: memory.takeLog(), role, count, before)
                try requireEqual(wrong, [], "accesses beyond those of an echo")
            }
        }
    }

    /// What is not as the accesses of an echo of `count` bytes should be; for none, it may have looked at each index.
    private func rest(
        of log: [Access],
        _ role: ConsoleRole,
        _ count: Int,
        _ start: (RingIndex, RingIndex)
    ) -> [Access] {
        let looks: [Access] = [.loadAcquire(role.input.producerIndex), .loadAcquire(role.output.consumerIndex)]
        guard count > 0 else { return log == looks ? [] : Array(log.drop { $0 == looks[0] }) }
        let reads = OperationRules(end: .consumer, layout: role.input).pieces(from: start.0, count: count)
        let writes = OperationRules(end: .producer, layout: role.output).pieces(from: start.1, count: count)
        let stores: [Access] = [
            .storeRelease(role.output.producerIndex, (start.1 + count).rawValue),
            .storeRelease(role.input.consumerIndex, (start.0 + count).rawValue),
        ]
        guard log.count > 4, Array(log.prefix(2)) == looks, Array(log.suffix(2)) == stores else { return log }
        var (read, written): ([Int], [Int]) = ([], [])
        for access in log.dropFirst(2).dropLast(2) {
            switch access {
            case .copyOut(let range): read += range
            case .copyIn(let range): written += range
            case .loadAcquire, .loadRelaxed, .storeRelease, .loadByte, .storeByte, .fence: return [access]
            }
        }
        return read == reads.flatMap(\.self) && written == writes.flatMap(\.self) ? [] : log
    }

    @Test(arguments: [ConsoleRole.frontend, .backend])
    func `an index that makes no sense moves nothing, and the echo goes on when it does`(role: ConsoleRole) throws {
        for word in [role.input.producerIndex, role.output.consumerIndex] {
            let memory = SpyMemory()
            var ring = ConsoleRing(fresh: memory, as: role)
            memory[word: role.input.producerIndex] = 3
            let good = memory[word: word]
            memory[word: word] = 5000
            #expect(throws: RingViolation.self) { try ring.echo() }
            #expect(throws: RingViolation.self) { try ring.echo() }
            #expect(memory[word: role.input.consumerIndex] == 0 && memory[word: role.output.producerIndex] == 0)
            memory[word: word] = good
            #expect(try ring.echo() == 3)
        }
    }

    @Test func `where an echo found no room nothing is written, although there was some before`() throws {
        let memory = SpyMemory()
        var ring = ConsoleRing(fresh: memory, as: .frontend)
        #expect(try ring.output.write(Array(repeating: UInt8(0), count: 2040).span) == 2040)
        memory[word: 3076] = 1
        memory[word: 3080] = 2040 &- 2048
        #expect(try ring.echo() == 0)
        #expect(try ring.output.write([1, 2].span) == 0)
        memory[word: 3080] = 5
        #expect(try ring.echo() == 1)
    }

    @Test func `a stream that another thread echoes comes back whole`() throws {
        let memory = GuardedPage()
        let page = memory.page
        let total = 1_000_000
        let start = 0 &- UInt32(total / 2)
        for word in [3072, 3076, 3080, 3084] { page.storeRelease(start, at: word) }
        let hasEnded = DispatchSemaphore(value: 0)
        Thread {
            var ring = try? ConsoleRing(attaching: page, as: .frontend)
            var (left, idle) = (total, 0)
            while left > 0, idle < 100_000_000 {
                let count = (try? ring?.echo()) ?? 0
                left -= count
                idle = count > 0 ? 0 : idle + 1
            }
            hasEnded.signal()
        }.start()
        var ring = try ConsoleRing(attaching: page, as: .backend)
        let bytes = (0..<total).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
        var (sent, idle) = (0, 0)
        var received: [UInt8] = []
        while received.count < total, idle < 100_000_000 {
            let before = sent + received.count
            sent += try ring.output.write(bytes[sent..<min(total, sent + 700)].span)
            received += try [UInt8](capacity: 3000) { output in _ = try ring.input.read(appendingTo: &output) }
            idle = sent + received.count > before ? 0 : idle + 1
        }
        hasEnded.wait()
        #expect(received == bytes)
        #expect(memory.guardsAreIntact)
    }
}
