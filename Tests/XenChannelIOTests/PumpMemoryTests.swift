// SPDX-License-Identifier: MIT

import Testing

@testable import XenChannelIO
@testable import XenChannels

/// What memory a pump holds on to: a thousand idle channels cost little.
@Suite(.longest)
struct PumpMemoryTests {
    private func spareCount(_ bench: Bench) -> Int { bench.reactor.spareMemory.pieces.count }

    /// How many bytes a client sends: what the ring does not take is a small or a large part of what was read at once.
    @Test(arguments: [100, 3000, 40_000])
    func `the memory into which a client was read is free for others once few of its bytes wait`(count: Int) throws {
        let bench = try Bench()
        let pump = StreamPump(on: bench.reactor)
        pump.attach(try bench.ring(), limit: 65_536)
        let (outlet, client) = try bench.outlet(of: pump)
        pump.attach(outlet)
        client.send(pattern(count))
        bench.reactor.turn(until: "all was read") {
            bench[word: 3076] == min(1024, count) && pump.inboundCount == max(0, count - 1024)
        }
        #expect(spareCount(bench) == (count > 20_000 ? 0 : 1))
        var taken: [UInt8] = []
        bench.reactor.turn(until: "the guest has all") {
            taken += (try? bench.read()) ?? []
            return taken.count == count
        }
        #expect(taken == pattern(count))
        #expect(spareCount(bench) == 1)
    }

    @Test func `the memory in which a guest's bytes waited is free for others once they are taken`() throws {
        let bench = try Bench()
        let pump = StreamPump(on: bench.reactor)
        pump.attach(try bench.ring(), limit: 65_536)
        var written = 0
        while written < 20_000 {
            written += try bench.write(pattern(2048, from: written))
            pump.run()
        }
        #expect(spareCount(bench) == 0)
        let (outlet, client) = try bench.outlet(of: pump)
        pump.attach(outlet)
        bench.reactor.turn(until: "the client has all") { client.receive().count == written }
        #expect(spareCount(bench) == 1)
    }
}
