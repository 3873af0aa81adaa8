// SPDX-License-Identifier: MIT

import Testing
import XenChannels
import XenRing

@testable import XenChannelIO

@Suite(.longest)
struct StreamPumpTests {
    @Test(arguments: [1, 10, 2048, 3000, 65_536])
    func `a guest's bytes wait up to the limit, then in the ring, and reach the first client in order`(
        limit: Int
    ) throws {
        let bench = try Bench()
        let pump = StreamPump(on: bench.reactor)
        pump.attach(try bench.ring(), limit: limit)
        let sent = pattern(limit + 2048 + 5000)
        var written = 0
        while true {
            let count = try bench.write([UInt8](sent[written..<min(sent.count, written + 700)]))
            if count == 0 { break }
            written += count
            pump.run()
        }
        // The guest waits now, and nothing is lost.
        #expect(written == limit + 2048)
        #expect(pump.backlogCount == limit)
        let (outlet, client) = try bench.outlet(of: pump)
        pump.attach(outlet)
        bench.reactor.turn(until: "all of it reached the client") { client.receive().count >= written }
        #expect(client.received == [UInt8](sent[..<written]))
        // And it can go on.
        #expect(try bench.write([UInt8](sent[written...])) == 2048)
        pump.run()
        bench.reactor.turn(until: "the rest reached the client") { client.receive().count == written + 2048 }
    }

    @Test func `a client that never stops has others take their turn after some pieces`() throws {
        let bench = try Bench()
        let pump = StreamPump(on: bench.reactor)
        pump.attach(try bench.ring(), limit: 65_536)
        let (outlet, client) = try bench.outlet(of: pump)
        let all = pattern(1_000_000)
        var sent = client.send([UInt8](all[..<200_000]))
        pump.attach(outlet)
        var taken: [UInt8] = []
        bench.reactor.addWork {
            sent += client.send([UInt8](all[sent..<min(sent + 65_536, all.count)]))
            guard let bytes = try? bench.read(), !bytes.isEmpty else { return false }
            taken += bytes
            pump.ringChanged()
            return true
        }
        var (before, most) = (0, 0)
        bench.reactor.turn(until: "the guest has all") {
            most = max(most, taken.count + pump.inboundCount - before)
            before = taken.count + pump.inboundCount
            return taken.count == all.count
        }
        #expect(most > 65_536 && most <= 4 * 65_536)
        #expect(taken == all)
    }

    @Test func `a client that ended its writing still receives everything`() throws {
        let bench = try Bench()
        let pump = StreamPump(on: bench.reactor)
        pump.attach(try bench.ring(), limit: 65_536)
        let (outlet, client) = try bench.outlet(of: pump)
        pump.attach(outlet)
        client.send(pattern(3000))
        client.endWriting()
        var taken: [UInt8] = []
        bench.reactor.turn(until: "the guest has what it wrote") {
            taken += (try? bench.read()) ?? []
            return taken.count == 3000
        }
        #expect(taken == pattern(3000))
        bench.reactor.settle()
        #expect(pump.outlet != nil)
        for part in 0..<40 {
            try bench.write(pattern(2000, from: part * 2000))
            pump.run()
            bench.reactor.turn(until: "the client has the part") { client.receive().count == (part + 1) * 2000 }
        }
        #expect(client.received == pattern(80_000))
        #expect(bench.reactor.turns() < 10)
        client.leave()
        bench.reactor.turn(until: "it is gone") { pump.outlet == nil }
    }

    @Test func `a client that takes nothing any more is still listened to`() throws {
        let bench = try Bench()
        let pump = StreamPump(on: bench.reactor)
        pump.attach(try bench.ring(), limit: 65_536)
        let (outlet, client) = try bench.outlet(of: pump)
        pump.attach(outlet)
        if let descriptor = client.descriptor { endReading(descriptor) }
        try bench.write(pattern(100))
        pump.run()
        bench.reactor.settle()
        #expect(pump.backlogCount == 100)
        client.send(pattern(500))
        var taken: [UInt8] = []
        bench.reactor.turn(until: "the guest has what it wrote") {
            taken += (try? bench.read()) ?? []
            return taken.count == 500
        }
        #expect(bench.reactor.turns() < 10)
        client.leave()
        bench.reactor.turn(until: "it is gone") { pump.outlet == nil }
        let (next, other) = try bench.outlet(of: pump)
        pump.attach(next)
        bench.reactor.turn(until: "the next client has the bytes") { other.receive().count == 100 }
    }

    @Test func `a client that never reads costs no more than the limit, and no turns`() throws {
        let bench = try Bench()
        let pump = StreamPump(on: bench.reactor)
        pump.attach(try bench.ring(), limit: 10_000)
        let (outlet, client) = try bench.outlet(of: pump)
        pump.attach(outlet)
        var isFull = false
        while !isFull {
            isFull = try bench.write(pattern(2048)) == 0
            pump.run()
            #expect(pump.backlogCount <= 10_000)
        }
        #expect(pump.backlogCount == 10_000)
        #expect(bench.reactor.turns() < 10)
        #expect(!client.isEnded)
    }

    @Test func `a guest that never says it made room is served by a timer, which runs only while bytes wait`() throws {
        let bench = try Bench()
        let pump = StreamPump(on: bench.reactor)
        pump.attach(try bench.ring(), limit: 65_536)
        let (outlet, client) = try bench.outlet(of: pump)
        pump.attach(outlet)
        bench.reactor.settle()
        #expect(!pump.isPatient)
        // Exactly full, and nothing waits: no timer.
        client.send(pattern(1024))
        bench.reactor.settle()
        #expect(bench[word: 3076] == 1024)
        client.send(pattern(5000 - 1024, from: 1024))
        bench.reactor.turn(until: "bytes wait for room") { pump.isPatient }
        // Some looks of the timer; not more.
        #expect(bench.reactor.turns() < 20)
        var taken: [UInt8] = []
        bench.reactor.turn(until: "the guest took everything, silently") {
            taken += (try? bench.read()) ?? []
            return taken.count == 5000
        }
        #expect(taken == pattern(5000))
        bench.reactor.turn(until: "the timer is off") { !pump.isPatient }
        #expect(bench.reactor.turns() < 5)
    }

    @Test func `the timer ends with the client and with the ring`() throws {
        let bench = try Bench()
        let pump = StreamPump(on: bench.reactor)
        pump.attach(try bench.ring(), limit: 65_536)
        let (first, client) = try bench.outlet(of: pump)
        pump.attach(first)
        client.send(pattern(3000))
        bench.reactor.turn(until: "bytes wait for room") { pump.isPatient }
        pump.detachOutlet()
        #expect(!pump.isPatient)
        let (second, other) = try bench.outlet(of: pump)
        pump.attach(second)
        other.send(pattern(10))
        bench.reactor.turn(until: "bytes wait for room") { pump.isPatient }
        pump.detachRing()
        #expect(!pump.isPatient)
        #expect(bench.reactor.turns() < 5)
    }

    @Test func `the guest is told when bytes moved, and only then`() throws {
        let bench = try Bench()
        let pump = StreamPump(on: bench.reactor)
        pump.attach(try bench.ring(), limit: 65_536)
        let (outlet, client) = try bench.outlet(of: pump)
        pump.attach(outlet)
        bench.reactor.settle()
        for _ in 0..<10 { pump.run() }
        #expect(bench.notifications == 0)
        try bench.write(pattern(5))
        pump.run()
        #expect(bench.notifications == 1)
        client.send(pattern(5))
        bench.reactor.turn(until: "it is told") { bench.notifications == 2 }
        for _ in 0..<10 { pump.run() }
        #expect(bench.notifications == 2)
        // Both directions at once are one event.
        try bench.write(pattern(5))
        client.send(pattern(5))
        bench.reactor.turn(until: "it is told") { bench.notifications >= 3 }
        bench.reactor.settle()
        #expect(bench.notifications == 3)
    }

    @Test func `a connected backend says so in one byte, and touches nothing behind it`() throws {
        let bench = try Bench()
        bench.memory.page.storeReleaseByte(1, at: 3088)
        for offset in 3089..<4096 { bench.memory.page.storeReleaseByte(0xA5, at: offset) }
        let pump = StreamPump(on: bench.reactor)
        pump.attach(try bench.ring(), limit: 65_536)
        #expect(bench.memory.page.loadAcquireByte(at: 3088) == 0)
        let (outlet, client) = try bench.outlet(of: pump)
        pump.attach(outlet)
        for round in 0..<20 {
            try bench.write(pattern(2048, from: round * 7))
            client.send(pattern(1024))
            bench.reactor.settle()
            pump.run()
            _ = try bench.read()
        }
        client.leave()
        bench.reactor.settle()
        pump.detachRing()
        // An absent client is no reason to say disconnected.
        #expect(bench.memory.page.loadAcquireByte(at: 3088) == 0)
        #expect((3089..<4096).allSatisfy { bench.memory.page.loadAcquireByte(at: $0) == 0xA5 })
    }

    @Test func `what is in the ring when the guest goes is taken, even beyond the limit, and no more each time`() throws
    {
        let bench = try Bench()
        let pump = StreamPump(on: bench.reactor)
        var written: [UInt8] = []
        for round in 0..<5 {
            pump.attach(try bench.ring(), limit: 100)
            let bytes = pattern(2048, from: round * 2048)
            written += bytes[..<(try bench.write(bytes))]
            pump.run()
            pump.detachRing()
            #expect(pump.backlogCount <= 100 + 2048)
        }
        #expect(pump.backlogCount == 100 + 2048)
        let (outlet, client) = try bench.outlet(of: pump)
        pump.attach(outlet)
        bench.reactor.turn(until: "the client has them") { client.receive().count == 2148 }
        #expect(client.received == [UInt8](written[..<2148]))
    }

    @Test func `a client before there is a guest waits, and its bytes with it`() throws {
        let bench = try Bench()
        let pump = StreamPump(on: bench.reactor)
        let (outlet, client) = try bench.outlet(of: pump)
        pump.attach(outlet)
        client.send(pattern(700))
        bench.reactor.settle()
        client.leave()
        // It hung up, and nothing can be done about it yet: that must not cost anything.
        #expect(bench.reactor.turns() < 10)
        #expect(pump.outlet != nil)
        pump.attach(try bench.ring(), limit: 65_536)
        bench.reactor.turn(until: "it is done with") { pump.outlet == nil }
        #expect(try bench.read() == pattern(700))
    }

    @Test func `a hang-up behind a full ring does not spin, and loses nothing`() throws {
        let bench = try Bench()
        let pump = StreamPump(on: bench.reactor)
        pump.attach(try bench.ring(), limit: 65_536)
        let (outlet, client) = try bench.outlet(of: pump)
        pump.attach(outlet)
        client.send(pattern(9000))
        client.leave()
        bench.reactor.settle()
        #expect(bench.reactor.turns() < 20)
        var taken: [UInt8] = []
        bench.reactor.turn(until: "the guest has it all") {
            taken += (try? bench.read()) ?? []
            return taken.count == 9000
        }
        #expect(taken == pattern(9000))
        bench.reactor.turn(until: "it is gone") { pump.outlet == nil }
    }

    @Test func `neither direction waits for the other`() throws {
        let bench = try Bench()
        let pump = StreamPump(on: bench.reactor)
        pump.attach(try bench.ring(), limit: 4096)
        let (outlet, client) = try bench.outlet(of: pump)
        pump.attach(outlet)
        // The guest takes nothing: the client still gets all.
        client.send(pattern(5000))
        bench.reactor.settle()
        for part in 0..<10 {
            try bench.write(pattern(2048, from: part * 2048))
            pump.run()
            bench.reactor.turn(until: "the client has it") { client.receive().count == (part + 1) * 2048 }
        }
        // The client takes nothing: the guest still gets all.
        while try bench.write(pattern(2048)) > 0 { pump.run() }
        var taken: [UInt8] = []
        bench.reactor.turn(until: "the guest has it") {
            taken += (try? bench.read()) ?? []
            return taken.count == 5000
        }
    }
}
