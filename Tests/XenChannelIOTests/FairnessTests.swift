// SPDX-License-Identifier: MIT

import Testing
import XenBus
import XenChannels
import XenHypervisor
import XenInterface
import XenRing

@testable import XenChannelIO

/// How long one guest can keep another waiting.
@Suite(.longest)
struct FairnessTests {
    @Test func `a guest that notifies at all its ports without end delays another by no turn`() throws {
        let host = LiveHost()
        let reactor = try Reactor()
        let folder = try Folder()
        let toolstack = LiveToolstack(on: host)
        let backend = BackendDaemon(of: host.controlDomain, on: reactor)
        var domains: [LiveDomain] = []
        var guests: [GuestDaemon] = []
        for (name, count) in [("hostile", 70), ("quiet", 1)] {
            let channels = try TestWorld.configurations(
                (0..<count).map { "connection=socket,path=%/\(name)\($0),name=c\($0)" },
                in: folder
            )
            let domain = try toolstack.createGuest(name: name, uuid: name) { _ in channels }
            let guest = GuestDaemon(of: domain, on: reactor) { _ in .echo }
            domains.append(domain)
            guests.append(guest)
            guest.start()
        }
        backend.start()
        reactor.turn(until: "all are connected") { backend.channels.count { $0.isConnected } == 71 }
        reactor.settle()
        // From here on the hostile guest raises each of its ports again whenever anything else is done.
        let hostile = host.withHypervisor { $0.openPorts(of: domains[0].id) }
        var rounds = 0
        let storm = reactor.addWork {
            rounds += 1
            for port in hostile { try? domains[0].events.notify(port) }
            return true
        }
        let client = try Far(connectingTo: folder("quiet0"))
        for round in 0..<5 {
            client.send([UInt8(round)])
            var turns = 0
            while client.receive().count <= round {
                reactor.turn()
                turns += 1
                guard turns < 100 else { break }
            }
            // One to accept or read, in which the byte goes all the way to the guest and back.
            #expect(turns <= 3, "round \(round)")
        }
        #expect(client.received == (0..<5).map { UInt8($0) })
        #expect(rounds > 5)
        storm.cancel()
        reactor.settle()
    }

    @Test func `ports of a quiet domain are served in the same round as a storm of many ports`() throws {
        let host = LiveHost()
        let reactor = try Reactor()
        let folder = try Folder()
        let toolstack = LiveToolstack(on: host)
        let backend = BackendDaemon(of: host.controlDomain, on: reactor)
        let channels = try TestWorld.configurations(
            (0..<70).map { "connection=socket,path=%/\($0),name=c\($0)" },
            in: folder
        )
        let one = try TestWorld.configurations(["connection=socket,path=%/q,name=q"], in: folder)
        let hostile = try toolstack.createGuest(name: "h", uuid: "h") { _ in channels }
        let quiet = try toolstack.createGuest(name: "q", uuid: "q") { _ in one }
        let hostileGuest = GuestDaemon(of: hostile, on: reactor) { _ in .discard }
        let quietGuest = GuestDaemon(of: quiet, on: reactor) { _ in .program("exec cat") }
        hostileGuest.start()
        quietGuest.start()
        backend.start()
        reactor.turn(until: "all are connected") { backend.channels.count { $0.isConnected } == 71 }
        reactor.settle()
        // Work is done in the order of its making: the backend's is first in each round.
        var rounds = 0
        var roundsUntilServed: Int?
        let ports = host.withHypervisor { $0.openPorts(of: hostile.id) }
        // The channel's page was made after the store's.
        let page = try #require((1..<500).compactMap { host.page(FrameNumber($0), of: quiet.id) }.last).page
        let before = page.loadAcquire(at: RingLayout.consoleOut.consumerIndex)
        let storm = reactor.addWork {
            rounds += 1
            for port in ports { try? hostile.events.notify(port) }
            if rounds == 50 {
                // The quiet guest's byte, put there by hand, and its event.
                page.storeReleaseByte(65, at: RingLayout.consoleOut.data + Int(before & 2047))
                page.storeRelease(before &+ 1, at: RingLayout.consoleOut.producerIndex)
                for port in host.withHypervisor({ $0.openPorts(of: quiet.id) }) {
                    try? quiet.events.notify(port)
                }
            }
            if rounds > 50, roundsUntilServed == nil,
                page.loadAcquire(at: RingLayout.consoleOut.consumerIndex) == before &+ 1
            {
                roundsUntilServed = rounds - 50
            }
            return true
        }
        for _ in 0..<20 where roundsUntilServed == nil { reactor.turn() }
        storm.cancel()
        #expect(roundsUntilServed == 1)
        // What was put there by hand is unknown to the guest's own end; nothing more is done with it.
    }
}
