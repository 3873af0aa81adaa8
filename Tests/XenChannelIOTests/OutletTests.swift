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

    @Test func `after full pieces it is read on from three times, then others have their turn`() throws {
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
            #expect(pieces == 4)
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
}
