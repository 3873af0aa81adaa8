// SPDX-License-Identifier: MIT

import Testing
import XenChannels
import XenRing

@testable import XenChannelIO

/// What a guest does to the page while it is served: to the other side's indices, and to its own.
@Suite(.longest)
struct HostilePageTests {
    /// The guest's own indices, which it may set to anything, and the backend's, which it may overwrite.
    enum Word: Int, CaseIterable {
        case inConsumer = 3072
        case inProducer = 3076
        case outConsumer = 3080
        case outProducer = 3084
    }

    @Test(arguments: [1025, 2049, 0x8000_0000, .max] as [UInt32])
    func `a producer index out of range: nothing is copied or stored, it is told once, and the client is still heard`(
        jump: UInt32
    ) throws {
        let bench = try Bench()
        let (pump, client) = try serve(bench)
        var told: [RingViolation] = []
        pump.onViolation = { told.append($0) }
        try bench.write(pattern(100))
        pump.run()
        bench.reactor.turn(until: "the client has the first") { client.receive().count == 100 }
        let sane = bench[word: Word.outProducer.rawValue]
        bench[word: Word.outProducer.rawValue] = sane &+ max(jump, 2049)
        for _ in 0..<10 { pump.run() }
        client.send(pattern(300))
        bench.reactor.settle()
        #expect(client.receive().count == 100)
        #expect(bench[word: Word.outConsumer.rawValue] == 100)
        #expect(try bench.read() == pattern(300))
        #expect(told.count == 1)
        #expect(pump.statistics.violations >= 10)
        bench[word: Word.outProducer.rawValue] = sane
        try bench.write(pattern(50, from: 100))
        pump.run()
        bench.reactor.turn(until: "service goes on") { client.receive().count == 150 }
        #expect(client.received == pattern(150))
    }

    /// Else a task that reads would ask for ever, and freeze all else in its loop.
    @Test(arguments: [false, true])
    func `bytes behind an index that goes wrong are not said to be there, until it is right again`(asChunks: Bool)
        throws
    {
        let pair = try StreamPair()
        _ = pair.front.write(pattern(100).span)
        var few = [UInt8](repeating: 0, count: 10)
        var span = few.mutableSpan
        // More is known of than is looked at.
        let count = pair.back.peek(into: &span)
        #expect(count == 10)
        let producer = RingLayout.consoleOut.producerIndex
        pair.memory.page.storeRelease(9999, at: producer)
        let seen = Lock<Int?>(nil)
        pair.task { pair in
            if asChunks {
                var iterator = pair.back.chunks.makeAsyncIterator()
                let chunk = await iterator.next()
                seen.withLock { $0 = chunk?.count }
            } else if await pair.back.becomesReadable() {
                seen.withLock { $0 = 100 }
            }
        }
        pair.reactor.settle()
        #expect(seen.withLock { $0 } == nil)
        pair.memory.page.storeRelease(100, at: producer)
        pair.back.ringChanged()
        pair.reactor.turn(until: "it reads") { seen.withLock { $0 } == 100 }
        pair.back.close()
    }

    @Test func `each attachment tells of its own first violation`() throws {
        let bench = try Bench()
        let (pump, _) = try serve(bench)
        var told = 0
        pump.onViolation = { _ in told += 1 }
        for attachment in 1...2 {
            bench[word: Word.outProducer.rawValue] = 70_000
            for _ in 0..<3 { pump.run() }
            #expect(told == attachment)
            bench[word: Word.outProducer.rawValue] = 0
            pump.detachRing()
            pump.attach(try bench.ring(), limit: 65_536)
        }
    }

    @Test(arguments: [1, 1025, 0x8000_0000, .max - 1024] as [UInt32])
    func `a consumer index out of range: nothing is written, the guest is still heard, and it heals by itself`(
        jump: UInt32
    ) throws {
        let bench = try Bench()
        let (pump, client) = try serve(bench)
        var told: [RingViolation] = []
        pump.onViolation = { told.append($0) }
        let sane = bench[word: Word.inConsumer.rawValue]
        bench[word: Word.inConsumer.rawValue] = sane &+ jump
        client.send(pattern(300))
        bench.reactor.turn(until: "it is told") { !told.isEmpty }
        try bench.write(pattern(70))
        pump.run()
        bench.reactor.turn(until: "the guest is heard") { client.receive().count == 70 }
        #expect(bench[word: Word.inProducer.rawValue] == 0)
        #expect(bench.reactor.turns() < 20)
        #expect(told.count == 1)
        bench[word: Word.inConsumer.rawValue] = sane
        // The guest says nothing: the timer looks.
        bench.reactor.turn(until: "service goes on") { bench[word: Word.inProducer.rawValue] == 300 }
        #expect(try bench.read() == pattern(300))
    }

    @Test func `what the guest writes over the backend's own indices changes nothing`() throws {
        let bench = try Bench()
        let (pump, client) = try serve(bench)
        try bench.write(pattern(100))
        client.send(pattern(100))
        pump.run()
        bench.reactor.turn(until: "both are there") { client.receive().count == 100 && bench[word: 3076] == 100 }
        bench[word: Word.outConsumer.rawValue] = 0xDEAD_BEEF
        bench[word: Word.inProducer.rawValue] = 0xDEAD_BEEF
        // Sane again with the backend's next step, which knows better.
        bench[word: Word.outProducer.rawValue] = 140
        pump.run()
        bench.reactor.turn(until: "bytes 100 to 140 arrive") { client.receive().count == 140 }
        #expect(bench[word: Word.outConsumer.rawValue] == 140)
        client.send(pattern(5))
        bench.reactor.turn(until: "the index is right again") { bench[word: Word.inProducer.rawValue] == 105 }
        #expect(pump.statistics.violations == 0)
    }

    @Test(arguments: Word.allCases)
    func `a page that is out of range when it is joined is refused`(word: Word) throws {
        let bench = try Bench()
        bench[word: word.rawValue] = 5000
        #expect(throws: RingViolation.self) { try bench.ring() }
        // And the guest is not told that anybody serves it.
        bench.memory.page.storeReleaseByte(1, at: 3088)
        _ = try? bench.ring()
        #expect(bench.memory.page.loadAcquireByte(at: 3088) == 1)
    }

    private func serve(_ bench: Bench) throws -> (StreamPump, Far) {
        let pump = StreamPump(on: bench.reactor)
        pump.attach(try bench.ring(), limit: 65_536)
        let (outlet, client) = try bench.outlet(of: pump)
        pump.attach(outlet)
        return (pump, client)
    }
}
