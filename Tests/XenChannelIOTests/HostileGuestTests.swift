// SPDX-License-Identifier: MIT

import Testing
import XenBus
import XenChannels
import XenHypervisor
import XenInterface
import XenRing

@testable import XenChannelIO

/// What a hostile guest publishes for one of its channels.
struct Attack: Sendable, CustomTestStringConvertible {
    let testDescription: String
    /// A part of what is reported; nil where there is nothing to report.
    let reported: String?
    /// Whether the backend may have the page mapped afterwards: where what was published was right at first.
    var isServed = false
    let body: @Sendable (HostileGuest) throws -> Void

    init(
        _ name: String,
        reported: String?,
        isServed: Bool = false,
        body: @escaping @Sendable (HostileGuest) throws -> Void
    ) {
        testDescription = name
        self.reported = reported
        self.isServed = isServed
        self.body = body
    }

    static let all = [
        Attack("ring-ref is no number", reported: "ring-ref") { $0.publish("abc", $0.port()) },
        Attack("ring-ref has a sign", reported: "ring-ref") { $0.publish("+8", $0.port()) },
        Attack("ring-ref is negative", reported: "ring-ref") { $0.publish("-1", $0.port()) },
        Attack("ring-ref is out of range", reported: "ring-ref") { $0.publish("4294967304", $0.port()) },
        Attack("ring-ref is long", reported: "ring-ref") { $0.publish(String(repeating: "8", count: 2000), $0.port()) },
        Attack("port is no number", reported: "port") { $0.publish(try $0.grant(), "0x2") },
        Attack("port is 0", reported: "port") { $0.publish(try $0.grant(), "0") },
        Attack("a reference that was not granted", reported: "9999") { $0.publish("9999", $0.port()) },
        Attack("a page granted to another", reported: "otGranted") {
            $0.publish(try $0.grant(to: DomainID(1)), $0.port())
        },
        Attack("a page granted read-only", reported: "otGranted") {
            $0.publish(try $0.grant(readOnly: true), $0.port())
        },
        Attack("a grant that was revoked", reported: "otGranted") {
            let page = try $0.domain.grantPage(to: .dom0)
            $0.domain.release(page)
            $0.publish(page.reference.description, $0.port())
        },
        Attack("a port that is closed", reported: "nvalidPort") { $0.publish(try $0.grant(), "700") },
        Attack("a port that is meant for another", reported: "nvalidPort") {
            $0.publish(try $0.grant(), $0.port(for: DomainID(1)))
        },
        Attack("states out of order", reported: nil) {
            for state in ["6", "1", "4", "2", "99", "", "5", "foo", "3", "6"] { $0.write("state", state) }
        },
        Attack("its directory removed", reported: nil) { _ = $0.domain.store.perform(.remove($0.directory)) },
        Attack("its directory removed when it is connected", reported: nil) {
            $0.publish(try $0.grant(), $0.port())
            $0.bench.settle()
            _ = $0.domain.store.perform(.remove($0.directory))
        },
        Attack("numbers that change when they were read", reported: nil, isServed: true) {
            $0.publish(try $0.grant(), $0.port())
            $0.bench.settle()
            $0.write("ring-ref", "12345")
            $0.write("port", "54321")
            $0.write("state", "4")
        },
    ]
}

/// A guest that the test plays, in the store and at the hypervisor.
final class HostileGuest {
    let domain: LiveDomain
    let bench: Reactor
    let directory: StorePath

    init(_ domain: LiveDomain, _ bench: Reactor) throws {
        self.domain = domain
        self.bench = bench
        directory = try #require(StorePath("/local/domain/\(domain.id)/device/console/1"))
    }

    func write(_ node: String, _ value: String) {
        _ = domain.store.perform(.write(directory.appending(node), StoreValue(value)))
    }

    func publish(_ ring: String, _ port: String) {
        write("ring-ref", ring)
        write("port", port)
        write("state", "3")
    }

    func grant(to peer: DomainID = .dom0, readOnly: Bool = false) throws -> String {
        guard readOnly else { return try domain.grantPage(to: peer).reference.description }
        return try domain.grants.grantAccess(to: peer, page: FrameNumber(1), readOnly: true).description
    }

    func port(for peer: DomainID = .dom0) -> String {
        (try? domain.events.allocateUnbound(for: peer))?.description ?? "none"
    }
}

@Suite(.timeLimit(.minutes(1)))
struct HostileGuestTests {
    @Test(arguments: Attack.all)
    func `whatever a guest publishes, another's channel goes on, and what is wrong is named`(attack: Attack) throws {
        let host = LiveHost()
        let reactor = try Reactor()
        let folder = try Folder()
        let toolstack = LiveToolstack(on: host)
        let backend = BackendDaemon(of: host.controlDomain, on: reactor)
        var reports: [String] = []
        backend.onReport = { reports.append($0.description) }
        func configurations(_ name: String) throws -> [ChannelConfiguration] {
            try TestWorld.configurations(["connection=socket,path=%/\(name),name=\(name)"], in: folder)
        }
        let (calm, wild) = (try configurations("calm"), try configurations("wild"))
        let guest = GuestDaemon(
            of: try toolstack.createGuest(name: "calm", uuid: "1") { _ in calm },
            on: reactor
        ) { _ in .echo }
        let hostile = try HostileGuest(toolstack.createGuest(name: "wild", uuid: "2") { _ in wild }, reactor)
        backend.start()
        guest.start()
        reactor.turn(until: "the other is connected") { backend.channels.contains { $0.isConnected } }
        let client = try Far(connectingTo: folder("calm"))
        client.send(pattern(100))
        reactor.turn(until: "it answers") { client.receive().count == 100 }
        try attack.body(hostile)
        reactor.settle()
        client.send(pattern(500, from: 100))
        reactor.turn(until: "it still answers") { client.receive().count == 600 }
        #expect(client.received == pattern(600))
        let mapped = host.leaks(of: .dom0).mappings.count
        #expect(mapped == 1 || attack.isServed && mapped == 2)
        if let text = attack.reported {
            #expect(reports.contains { $0.contains(text) }, "\(reports)")
        }
        // And the loop rests.
        #expect(reactor.turns() < 20)
    }

    @Test func `a page that a backend holds on to is not used again, and is counted until it lets go (F5, R10)`() throws
    {
        let host = LiveHost()
        let reactor = try Reactor()
        let folder = try Folder()
        let toolstack = LiveToolstack(on: host)
        let backend = BackendDaemon(of: host.controlDomain, on: reactor)
        let configurations = try TestWorld.configurations(["connection=socket,path=%/a,name=a"], in: folder)
        let domain = try toolstack.createGuest(name: "g", uuid: "1") { _ in configurations }
        let guest = GuestDaemon(of: domain, on: reactor) { _ in .echo }
        backend.start()
        guest.start()
        reactor.turn(until: "connected") { backend.channels.contains { $0.isConnected } }
        var grants = DomainGrants(of: .dom0, in: host)
        let held = try #require(host.leaks(of: domain.id).grants.first)
        let mapping = try grants.map(held.reference, of: domain.id, readOnly: false)
        let channel = try #require(configurations.first)
        for round in 0..<3 {
            try toolstack.remove(channel.device, from: domain.id)
            reactor.turn(until: "it is gone") { guest.channels.isEmpty && backend.channels.isEmpty }
            #expect(guest.deferredGrants == 1, "round \(round)")
            try toolstack.attach(channel, to: domain.id)
            reactor.turn(until: "connected again") { backend.channels.contains { $0.isConnected } }
            // The old page is nobody's: what is written there is seen by none.
            try #require(host.page(mapping.frame, of: domain.id)).page.storeRelease(0xFFFF_0000, at: 3084)
            let client = try Far(connectingTo: folder("a"))
            client.send(pattern(3000))
            reactor.turn(until: "it answers") { client.receive().count == 3000 }
            #expect(guest.channels.first?.ringViolations == 0)
        }
        try grants.unmap(mapping)
        reactor.turn(until: "it is ended") { guest.deferredGrants == 0 }
        #expect(host.page(mapping.frame, of: domain.id) == nil)
    }
}
