// SPDX-License-Identifier: MIT

import Foundation
import Synchronization
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
        Attack("ring-ref is empty", reported: "ring-ref") { $0.publish("", $0.port()) },
        Attack("no ring-ref", reported: nil) {
            $0.write("port", $0.port())
            $0.write("state", "3")
        },
        Attack("no port", reported: nil) {
            $0.write("ring-ref", try $0.grant())
            $0.write("state", "3")
        },
        Attack("port is empty", reported: "port") { $0.publish(try $0.grant(), "") },
        Attack("port is out of range", reported: "port") { $0.publish(try $0.grant(), "4294967298") },
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
        Attack("a port that is bound elsewhere: that of its store's connection", reported: "nvalidPort") {
            $0.publish(try $0.grant(), try $0.storePort())
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
    let host: LiveHost
    let domain: LiveDomain
    let bench: Reactor
    let directory: StorePath

    init(_ domain: LiveDomain, of host: LiveHost, _ bench: Reactor) throws {
        self.host = host
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

    func storePort() throws -> String {
        // The first that the toolstack made.
        try #require(host.withHypervisor { $0.openPorts(of: domain.id) }.first).description
    }

    func port(for peer: DomainID = .dom0) -> String {
        (try? domain.events.allocateUnbound(for: peer))?.description ?? "none"
    }
}

/// A host with a backend that has not been started, and what it reports.
private final class Stage {
    let host = LiveHost()
    let reactor: Reactor
    let folder: Folder
    let toolstack: LiveToolstack
    let backend: BackendDaemon
    var reports: [String] = []

    init() throws {
        reactor = try Reactor()
        folder = try Folder()
        toolstack = LiveToolstack(on: host)
        backend = BackendDaemon(of: host.controlDomain, on: reactor)
        backend.onReport = { [unowned self] in reports.append($0.description) }
    }

    func channels(_ name: String) throws -> [ChannelConfiguration] {
        try TestWorld.configurations(["connection=socket,path=%/\(name),name=\(name)"], in: folder)
    }

    /// Makes a guest with a channel of its name.
    func guest(_ name: String) throws -> LiveDomain {
        let channels = try channels(name)
        return try toolstack.createGuest(name: name, uuid: name) { _ in channels }
    }

    func client(of name: String) throws -> Far { try Far(connectingTo: folder(name)) }
}

@Suite(.longest)
struct HostileGuestTests {
    @Test(arguments: Attack.all)
    func `whatever a guest publishes, another's channel goes on, and what is wrong is named`(attack: Attack) throws {
        let stage = try Stage()
        let (host, reactor, backend) = (stage.host, stage.reactor, stage.backend)
        let guest = GuestDaemon(of: try stage.guest("calm"), on: reactor) { _ in .echo }
        let hostile = try HostileGuest(try stage.guest("wild"), of: host, reactor)
        backend.start()
        guest.start()
        reactor.turn(until: "the other is connected") { backend.channels.contains { $0.isConnected } }
        let client = try stage.client(of: "calm")
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
            #expect(stage.reports.contains { $0.contains(text) }, "\(stage.reports)")
        }
        // And the loop rests.
        #expect(reactor.turns() < 20)
    }

    @Test func `numbers that change together while they are read are taken together (B34)`() throws {
        let stage = try Stage()
        let (host, reactor, backend) = (stage.host, stage.reactor, stage.backend)
        let domain = try stage.guest("a")
        let guest = try HostileGuest(domain, of: host, reactor)
        let pairs = try (0..<2).map { _ in (ring: try guest.grant(), port: guest.port()) }
        let toolstack = LiveStoreConnection(as: .dom0, to: host)
        func say(_ state: String) {
            _ = toolstack.perform(.write(guest.directory.appending("state"), StoreValue(state)))
        }
        // A thread of the guest's publishes one pair or the other all the time, each in one transaction.
        let isOver = Atomic(false)
        let hasEnded = Atomic(false)
        nonisolated(unsafe) let store = domain.store
        let nodes = (ring: guest.directory.appending("ring-ref"), port: guest.directory.appending("port"))
        Thread {
            var round = 0
            while !isOver.load(ordering: .acquiring) {
                round += 1
                let pair = pairs[round % 2]
                guard case .transaction(let id) = unsafe store.perform(.beginTransaction) else { continue }
                _ = unsafe store.perform(.write(nodes.ring, StoreValue(pair.ring)), in: id)
                _ = unsafe store.perform(.write(nodes.port, StoreValue(pair.port)), in: id)
                _ = unsafe store.perform(.endTransaction(commit: true), in: id)
            }
            hasEnded.store(true, ordering: .releasing)
        }.start()
        backend.start()
        var seen: Set<String> = []
        for _ in 0..<150 {
            say("3")
            reactor.settle()
            if backend.channels.first?.isConnected == true {
                let leaks = host.leaks(of: .dom0)
                let ring = try #require(leaks.mappings.first).reference.description
                let ports = leaks.ports.compactMap { port in
                    if case .interdomain(domain.id, let remote) = port.state { remote.description } else { nil }
                }
                #expect(pairs.contains { $0.ring == ring && ports == [$0.port] }, "\(ring) \(ports)")
                seen.insert(ring)
            }
            for state in ["5", "6", "1"] {
                say(state)
                reactor.settle()
            }
        }
        isOver.store(true, ordering: .releasing)
        while !hasEnded.load(ordering: .acquiring) { usleep(100) }
        // Neither was chosen by chance alone.
        #expect(seen.count == 2)
    }

    @Test func `frontend and backend in one domain, beside those of a guest (E2)`() throws {
        let stage = try Stage()
        let (host, reactor, toolstack, backend) = (stage.host, stage.reactor, stage.toolstack, stage.backend)
        let near = try stage.channels("near")
        let domain = try stage.guest("far")
        let guest = GuestDaemon(of: domain, on: reactor) { _ in .echo }
        let own = GuestDaemon(of: host.controlDomain, on: reactor) { _ in .program("exec cat") }
        for daemon in [guest, own] {
            daemon.onReport = { stage.reports.append($0.description) }
            daemon.start()
        }
        backend.start()
        for round in 0..<3 {
            try toolstack.attach(try #require(near.first), to: .dom0)
            reactor.turn(until: "both are connected") { backend.channels.count { $0.isConnected } == 2 }
            #expect(backend.channels.map(\.frontend) == [.dom0, domain.id])
            let clients = try ["near", "far"].map { try stage.client(of: $0) }
            for part in 0..<4 {
                let sent = pattern(3000, from: 3000 * part + round)
                for client in clients { client.send(sent) }
                reactor.turn(until: "all comes back") {
                    clients.allSatisfy { $0.receive().count == 3000 * (part + 1) }
                }
                for client in clients { #expect(client.received.suffix(3000) == sent[...]) }
            }
            try toolstack.remove(DeviceID(1), from: .dom0)
            reactor.turn(until: "its own is gone") { backend.channels.count == 1 && own.channels.isEmpty }
        }
        #expect(stage.reports.isEmpty)
        var closed = 0
        for daemon in [guest, own] { daemon.close { closed += 1 } }
        reactor.turn(until: "the frontends are closed") { closed == 2 }
        #expect(host.leaks(of: .dom0).grants.isEmpty)
        backend.close { closed += 1 }
        reactor.turn(until: "the backend is closed") { closed == 3 }
        #expect(host.leaks(of: .dom0).isEmpty)
    }

    @Test func `a page that a backend holds on to is not used again, and is counted until it lets go (F5, R10)`() throws
    {
        let stage = try Stage()
        let (host, reactor, toolstack, backend) = (stage.host, stage.reactor, stage.toolstack, stage.backend)
        let domain = try stage.guest("a")
        let guest = GuestDaemon(of: domain, on: reactor) { _ in .echo }
        backend.start()
        guest.start()
        reactor.turn(until: "connected") { backend.channels.contains { $0.isConnected } }
        var grants = DomainGrants(of: .dom0, in: host)
        let held = try #require(host.leaks(of: domain.id).grants.first)
        let mapping = try grants.map(held.reference, of: domain.id, readOnly: false)
        let channel = try #require(try stage.channels("a").first)
        for round in 0..<3 {
            try toolstack.remove(channel.device, from: domain.id)
            reactor.turn(until: "it is gone") { guest.channels.isEmpty && backend.channels.isEmpty }
            #expect(guest.deferredGrants == 1, "round \(round)")
            try toolstack.attach(channel, to: domain.id)
            reactor.turn(until: "connected again") { backend.channels.contains { $0.isConnected } }
            // The old page is nobody's: what is written there is seen by none.
            try #require(host.page(mapping.frame, of: domain.id)).page.storeRelease(0xFFFF_0000, at: 3084)
            let client = try stage.client(of: "a")
            client.send(pattern(3000))
            reactor.turn(until: "it answers") { client.receive().count == 3000 }
            #expect(guest.channels.first?.ringViolations == 0)
        }
        try grants.unmap(mapping)
        reactor.turn(until: "it is ended") { guest.deferredGrants == 0 }
        #expect(host.page(mapping.frame, of: domain.id) == nil)
    }
}
