// SPDX-License-Identifier: MIT

import Testing

@testable import XenChannelIO

/// When an outlet is read from again without asking whether it is readable.
@Suite(.longest)
struct OutletTests {
    /// Reads up to `count` bytes; returns how many there were.
    private func read(_ outlet: Outlet, _ count: Int) -> Int {
        var bytes: [UInt8] = []
        bytes.append(addingCapacity: count) { _ = outlet.read(appendingTo: &$0) }
        return bytes.count
    }

    @Test func `after a full piece it is read on from once, then others have their turn`() throws {
        let reactor = try Reactor()
        let (near, far) = try pair()
        let outlet = Outlet(on: reactor, input: near) { _ in }
        outlet.want(input: true, output: false)
        #expect(far.send(pattern(1000)) == 1000)
        for _ in 0..<2 {
            reactor.turn(until: "it is readable") { outlet.mayRead }
            var pieces = 0
            while outlet.mayRead, pieces < 50 {
                #expect(read(outlet, 10) == 10)
                #expect(!outlet.mayRead)
                pieces += 1
                outlet.readOn()
            }
            #expect(pieces == 2)
            outlet.readOn()
            #expect(!outlet.mayRead)
        }
    }

    @Test func `after less than was asked for it is not read on from`() throws {
        let reactor = try Reactor()
        let (near, far) = try pair()
        let outlet = Outlet(on: reactor, input: near) { _ in }
        outlet.want(input: true, output: false)
        #expect(far.send(pattern(9)) == 9)
        reactor.turn(until: "it is readable") { outlet.mayRead }
        outlet.readOn()
        #expect(outlet.mayRead)
        #expect(read(outlet, 10) == 9)
        outlet.readOn()
        #expect(!outlet.mayRead)
    }

    @Test(arguments: [false, true])
    func `a pump reads on only when the ring has all, and only from a client that takes what it is sent`(
        isTaking: Bool
    ) throws {
        let bench = try Bench()
        let pump = StreamPump(on: bench.reactor)
        pump.attach(try bench.ring(), limit: 65_536)
        let (outlet, client) = try bench.outlet(of: pump)
        pump.attach(outlet)
        while !isTaking, pump.backlogCount < 10_000 {
            try bench.write(pattern(2048))
            pump.run()
        }
        // So that the last of the next piece leaves room behind it.
        client.send(pattern(24))
        bench.reactor.turn(until: "the few are in the ring") { bench[word: 3076] == 24 }
        #expect(client.send(pattern(200_000)) > Reactor.scratchSize)
        bench.reactor.turn(until: "a piece was read") { pump.inboundCount > 0 }
        var taken = 0
        while pump.inboundCount > 0, taken < 200_000 {
            taken += try bench.read().count
            pump.run()
        }
        taken += try bench.read().count
        #expect(taken == 24 + Reactor.scratchSize)
        // The loop has not turned: nobody has asked whether there is more.
        pump.run()
        #expect(try bench.read().isEmpty != isTaking)
    }
}
