// SPDX-License-Identifier: MIT

import Glibc
import Testing
import XenChannels
import XenRing

@testable import XenChannelIO

/// What a pump does with bytes that nobody takes.
@Suite(.longest)
struct PumpPolicyTests {
    private func flood(_ bench: Bench, _ pump: StreamPump, _ count: Int) throws -> Int {
        var written = 0
        while written < count {
            let moved = try bench.write(pattern(min(2048, count - written), from: written))
            guard moved > 0 else { break }
            written += moved
            pump.ringChanged()
        }
        return written
    }

    @Test(arguments: [ChannelDurability.backlog, .ring])
    func `the deadline passes only when no byte is taken, and is told once`(durability: ChannelDurability) throws {
        let bench = try Bench()
        let policy = OverflowPolicy.block(deadline: .milliseconds(30), then: .dropMiddle(.xenconsoled))
        let pump = StreamPump(on: bench.reactor, service: ChannelService(overflow: policy, durability: durability))
        var told = 0
        pump.onOverflow = { told += 1 }
        pump.attach(try bench.ring(), limit: 4096)
        let written = try flood(bench, pump, 100_000)
        bench.reactor.settle()
        // The guest waits first.
        #expect(written == (durability == .ring ? 2048 : 4096 + 2048))
        bench.reactor.turn(until: "it is told") { told == 1 }
        for _ in 0..<3 {
            let more = try flood(bench, pump, 20_000)
            bench.reactor.settle()
            #expect(more >= 2048)
        }
        #expect(told == 1)
        #expect(pump.statistics.bytesDropped > 0)
        #expect(pump.backlogCount <= 4096 + 1024)
        // Somebody comes and takes it: the guest waits again, and nothing is dropped meanwhile.
        let (outlet, client) = try bench.outlet(of: pump)
        pump.attach(outlet)
        let total = { Int(pump.statistics.bytesFromRing &- pump.statistics.bytesDropped) }
        bench.reactor.turn(until: "the client has what was left") {
            client.receive().count == total() && pump.backlogCount == 0
        }
        let dropped = pump.statistics.bytesDropped
        for _ in 0..<50 {
            _ = try flood(bench, pump, 2048)
            bench.reactor.settle()
            client.receive()
        }
        #expect(pump.statistics.bytesDropped == dropped)
        #expect(client.receive().count == total())
    }

    @Test func `a client that takes nothing is disconnected, and the next begins with what comes then`() throws {
        let bench = try Bench()
        let pump = StreamPump(on: bench.reactor, service: ChannelService(overflow: .disconnect))
        var hasLeft = false
        pump.onOutletOver = { hasLeft = true }
        pump.attach(try bench.ring(), limit: 4096)
        let client: Far
        do {
            let (outlet, far) = try bench.outlet(of: pump)
            client = far
            pump.attach(outlet)
        }
        var written = 0
        while !hasLeft {
            written += try flood(bench, pump, 2048)
            bench.reactor.settle()
            try #require(written < 10_000_000, "it was never disconnected")
        }
        client.receive()
        #expect(client.isEnded)
        // All of it is accounted for.
        #expect(client.received.count + pump.backlogCount + Int(pump.statistics.bytesDropped) == written)
        #expect(pump.backlogCount <= 2048)
    }

    @Test(arguments: [ChannelDurability.backlog, .ring])
    func `what is in the ring when it goes reaches the next client`(durability: ChannelDurability) throws {
        let bench = try Bench()
        let pump = StreamPump(on: bench.reactor, service: ChannelService(durability: durability))
        pump.attach(try bench.ring(), limit: 4096)
        try bench.write(pattern(100))
        pump.ringChanged()
        bench.reactor.settle()
        pump.detachRing()
        #expect(pump.backlogCount == 100)
        let (outlet, client) = try bench.outlet(of: pump)
        pump.attach(outlet)
        bench.reactor.turn(until: "the client has it") { client.receive() == pattern(100) }
    }

    @Test func `what an echo leaves in the ring when it goes is counted`() throws {
        let bench = try Bench()
        let echo = LoopbackEndpoint(givesBack: true)
        echo.attach(try bench.ring(), limit: 4096)
        try bench.write(pattern(100))
        echo.detachRing()
        #expect(echo.backlogCount == 100)
    }

    @Test func `a byte that is taken begins the deadline anew, though the guest waits on`() throws {
        let bench = try Bench()
        let pump = StreamPump(on: bench.reactor, service: ChannelService())
        pump.attach(try bench.ring(), limit: 100)
        // A client whose socket holds little: what fits it is less than is in the ring.
        let (near, client) = try pair()
        var size: Int32 = 1
        unsafe setsockopt(near.raw, SOL_SOCKET, SO_SNDBUF, &size, socklen_t(MemoryLayout<Int32>.size))
        pump.attach(Outlet(on: bench.reactor, input: near) { [unowned pump] _ in pump.run() })
        _ = try flood(bench, pump, 100_000)
        bench.reactor.settle()
        for _ in 0..<3 {
            _ = try flood(bench, pump, 100_000)
            bench.reactor.settle()
            let before = try #require(pump.overflowTimer?.deadline)
            let received = client.received.count
            bench.reactor.turn(until: "the pump writes on") {
                client.receive()
                return client.received.count > received && pump.backlogCount == 100
            }
            bench.reactor.settle()
            // As many wait as may still.
            #expect(pump.backlogCount == 100)
            #expect(try bench.guest.output.freeCapacity() > 0)
            let after = try #require(pump.overflowTimer?.deadline)
            #expect(after > before)
        }
        #expect(pump.statistics.bytesDropped == 0)
    }

    @Test func `an overflow is told once for each attachment`() throws {
        let bench = try Bench()
        let pump = StreamPump(on: bench.reactor, service: ChannelService(overflow: .dropMiddle(.qemu)))
        var told = 0
        pump.onOverflow = { told += 1 }
        for attachment in 1...3 {
            pump.attach(try bench.ring(), limit: 4096)
            _ = try flood(bench, pump, 20_000)
            bench.reactor.settle()
            #expect(told == attachment)
            pump.detachRing()
        }
        #expect(told == 3)
    }

    @Test func `the policy's timer does not run while the guest has room, nor after the ring went`() throws {
        let bench = try Bench()
        let policy = OverflowPolicy.block(deadline: .milliseconds(1), then: .disconnect)
        let pump = StreamPump(on: bench.reactor, service: ChannelService(overflow: policy))
        pump.attach(try bench.ring(), limit: 2048)
        _ = try flood(bench, pump, 2048)
        bench.reactor.settle()
        #expect(bench.reactor.turns() < 5)
        #expect(pump.statistics.bytesDropped == 0)
        pump.detachRing()
        #expect(bench.reactor.turns() < 5)
    }
}
