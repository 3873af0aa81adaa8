// SPDX-License-Identifier: MIT

import Testing
import XenExploration
import XenHypervisor
import XenInterface

private let guest = DomainID(1)
private let other = DomainID(2)

/// Domain 0 and two guests.
private func threeDomains(limits: DomainLimits = DomainLimits()) throws -> Hypervisor {
    var hypervisor = Hypervisor(limits: limits)
    try hypervisor.createDomain(guest, limits: limits)
    try hypervisor.createDomain(other, limits: limits)
    return hypervisor
}

/// A channel between the guest, who allocates, and domain 0, who binds; nothing pending.
private func channel(
    _ hypervisor: inout Hypervisor
) throws -> (guest: EventChannelPort, dom0: EventChannelPort) {
    let port = try hypervisor.allocateUnbound(in: guest, for: .dom0)
    let bound = try hypervisor.bindInterdomain(in: .dom0, remote: guest, port: port)
    #expect(hypervisor.nextPending(of: .dom0) == bound)
    return (port, bound)
}

struct EventChannelTests {
    @Test func `ports begin at 1 and the lowest free one is taken (E1)`() throws {
        var hypervisor = try threeDomains()
        let ports = try (1...5).map { _ in try hypervisor.allocateUnbound(in: guest, for: .dom0).rawValue }
        #expect(ports == [1, 2, 3, 4, 5])
        try hypervisor.close(EventChannelPort(4), of: guest)
        try hypervisor.close(EventChannelPort(2), of: guest)
        #expect(try hypervisor.allocateUnbound(in: guest, for: .dom0) == EventChannelPort(2))
        #expect(try hypervisor.allocateUnbound(in: guest, for: .dom0) == EventChannelPort(4))
        #expect(try hypervisor.allocateUnbound(in: guest, for: .dom0) == EventChannelPort(6))
    }

    @Test func `binding connects both ports, and only the binder's is pending (E2)`() throws {
        var hypervisor = try threeDomains()
        let port = try hypervisor.allocateUnbound(in: guest, for: .dom0)
        #expect(hypervisor.state(of: port, in: guest) == .unbound(.dom0))
        let bound = try hypervisor.bindInterdomain(in: .dom0, remote: guest, port: port)
        #expect(hypervisor.state(of: port, in: guest) == .interdomain(.dom0, bound))
        #expect(hypervisor.state(of: bound, in: .dom0) == .interdomain(guest, port))
        #expect(hypervisor.nextPending(of: guest) == nil)
        #expect(hypervisor.nextPending(of: .dom0) == bound)
        #expect(hypervisor.nextPending(of: .dom0) == nil)
    }

    @Test func `binding is refused for missing domains, wrong ports and strangers (E2, E7)`() throws {
        var hypervisor = try threeDomains()
        let port = try hypervisor.allocateUnbound(in: guest, for: .dom0)
        let before = hypervisor
        #expect(throws: EventChannelError.noSuchDomain(DomainID(7))) {
            try hypervisor.bindInterdomain(in: .dom0, remote: DomainID(7), port: port)
        }
        for wrong: UInt32 in [0, 2, 5000, .max] {
            #expect(throws: EventChannelError.invalidPort(EventChannelPort(wrong))) {
                try hypervisor.bindInterdomain(in: .dom0, remote: guest, port: EventChannelPort(wrong))
            }
        }
        #expect(throws: EventChannelError.invalidPort(port)) {
            try hypervisor.bindInterdomain(in: other, remote: guest, port: port)
        }
        #expect(hypervisor == before, "a refusal leaves no trace")
        _ = try hypervisor.bindInterdomain(in: .dom0, remote: guest, port: port)
        #expect(throws: EventChannelError.invalidPort(port)) {
            try hypervisor.bindInterdomain(in: .dom0, remote: guest, port: port)
        }
    }

    @Test func `SELF stands for the caller, and a domain may bind to itself (E2, E8)`() throws {
        var hypervisor = try threeDomains()
        let port = try hypervisor.allocateUnbound(in: guest, for: .current)
        #expect(hypervisor.state(of: port, in: guest) == .unbound(guest))
        let bound = try hypervisor.bindInterdomain(in: guest, remote: .current, port: port)
        #expect(bound != port)
        #expect(hypervisor.nextPending(of: guest) == bound)
        #expect(try hypervisor.send(bound, from: guest) == Upcall(domain: guest, port: port, isFirst: true))
        try hypervisor.close(port, of: guest)
        #expect(hypervisor.state(of: bound, in: guest) == .unbound(guest))
    }

    @Test func `a pending port absorbs further events (E3)`() throws {
        var hypervisor = try threeDomains()
        let ports = try channel(&hypervisor)
        #expect(
            try hypervisor.send(ports.dom0, from: .dom0) == Upcall(domain: guest, port: ports.guest, isFirst: true)
        )
        #expect(try hypervisor.send(ports.dom0, from: .dom0) == nil)
        #expect(hypervisor.nextPending(of: guest) == ports.guest)
        #expect(hypervisor.nextPending(of: guest) == nil)
        #expect(try hypervisor.send(ports.dom0, from: .dom0) != nil)
    }

    @Test func `a masked port keeps its event until it is unmasked (E3)`() throws {
        var hypervisor = try threeDomains()
        let ports = try channel(&hypervisor)
        try hypervisor.mask(ports.guest, of: guest)
        #expect(try hypervisor.send(ports.dom0, from: .dom0) == nil)
        #expect(hypervisor.isPending(ports.guest, of: guest))
        #expect(!hypervisor.hasPending(guest))
        #expect(hypervisor.nextPending(of: guest) == nil)
        #expect(
            try hypervisor.unmask(ports.guest, of: guest) == Upcall(domain: guest, port: ports.guest, isFirst: true)
        )
        #expect(try hypervisor.unmask(ports.guest, of: guest) == nil)
        #expect(hypervisor.nextPending(of: guest) == ports.guest)
        // The other order: pending first, masked then.
        _ = try hypervisor.send(ports.dom0, from: .dom0)
        try hypervisor.mask(ports.guest, of: guest)
        #expect(hypervisor.nextPending(of: guest) == nil)
        #expect(try hypervisor.unmask(ports.guest, of: guest) != nil)
    }

    @Test func `sending fails on a closed port and is dropped on an unbound one (E4)`() throws {
        var hypervisor = try threeDomains()
        #expect(throws: EventChannelError.invalidPort(EventChannelPort(1))) {
            try hypervisor.send(EventChannelPort(1), from: guest)
        }
        let port = try hypervisor.allocateUnbound(in: guest, for: .dom0)
        #expect(try hypervisor.send(port, from: guest) == nil)
        let bound = try hypervisor.bindInterdomain(in: .dom0, remote: guest, port: port)
        #expect(hypervisor.nextPending(of: .dom0) == bound, "the bind itself makes up for the lost event")
        #expect(hypervisor.nextPending(of: .dom0) == nil)
    }

    @Test func `closing gives no event, leaves the peer waiting for the closer, and can be repeated (E6, B7)`() throws {
        var hypervisor = try threeDomains()
        let ports = try channel(&hypervisor)
        _ = try hypervisor.send(ports.guest, from: guest)
        try hypervisor.close(ports.dom0, of: .dom0)
        #expect(!hypervisor.isPending(ports.dom0, of: .dom0))
        #expect(hypervisor.nextPending(of: .dom0) == nil)
        #expect(hypervisor.nextPending(of: guest) == nil)
        #expect(hypervisor.state(of: ports.guest, in: guest) == .unbound(.dom0))
        #expect(throws: EventChannelError.invalidPort(ports.dom0)) { try hypervisor.close(ports.dom0, of: .dom0) }
        #expect(throws: EventChannelError.invalidPort(EventChannelPort(0))) {
            try hypervisor.close(EventChannelPort(0), of: .dom0)
        }
        #expect(try hypervisor.bindInterdomain(in: .dom0, remote: guest, port: ports.guest) == ports.dom0)
        #expect(hypervisor.nextPending(of: .dom0) == ports.dom0)
    }

    @Test func `closing and binding again clear the mask but not the peer's pending bit (E5, E6)`() throws {
        var hypervisor = try threeDomains()
        let ports = try channel(&hypervisor)
        try hypervisor.mask(ports.dom0, of: .dom0)
        _ = try hypervisor.send(ports.dom0, from: .dom0)
        try hypervisor.close(ports.dom0, of: .dom0)
        #expect(hypervisor.isPending(ports.guest, of: guest))
        #expect(try hypervisor.bindInterdomain(in: .dom0, remote: guest, port: ports.guest) == ports.dom0)
        #expect(hypervisor.nextPending(of: .dom0) == ports.dom0)
    }

    @Test func `a domain that dies closes its ports, and can be reached no more (E7)`() throws {
        var hypervisor = try threeDomains()
        let ports = try channel(&hypervisor)
        let spare = try hypervisor.allocateUnbound(in: guest, for: .dom0)
        _ = try hypervisor.destroyDomain(guest)
        #expect(hypervisor.state(of: ports.dom0, in: .dom0) == .unbound(guest))
        #expect(hypervisor.nextPending(of: .dom0) == nil)
        #expect(throws: EventChannelError.noSuchDomain(guest)) {
            try hypervisor.bindInterdomain(in: .dom0, remote: guest, port: spare)
        }
        #expect(throws: EventChannelError.noSuchDomain(guest)) { try hypervisor.send(ports.guest, from: guest) }
        #expect(throws: EventChannelError.noSuchDomain(guest)) { try hypervisor.close(ports.guest, of: guest) }
        #expect(throws: EventChannelError.noSuchDomain(guest)) { try hypervisor.allocateUnbound(in: guest, for: .dom0) }
        #expect(hypervisor.nextPending(of: guest) == nil)
        #expect(try hypervisor.send(ports.dom0, from: .dom0) == nil)
    }

    @Test func `a zombie's ports are closed: binding is EINVAL, not ESRCH (E7, F6)`() throws {
        var hypervisor = try threeDomains()
        let port = try hypervisor.allocateUnbound(in: guest, for: .dom0)
        let frame = FrameNumber(9)
        let reference = try hypervisor.grantAccess(to: .dom0, frame: frame, readOnly: false, of: guest)
        _ = try hypervisor.map(reference, of: guest, readOnly: false, by: .dom0)
        _ = try hypervisor.destroyDomain(guest)
        #expect(throws: EventChannelError.invalidPort(port)) {
            try hypervisor.bindInterdomain(in: .dom0, remote: guest, port: port)
        }
    }

    @Test func `a domain has 1023 ports unless told otherwise, and a full table counts first (E8, E2)`() throws {
        var hypervisor = try threeDomains()
        for number in 1...1023 {
            #expect(try hypervisor.allocateUnbound(in: guest, for: .dom0).rawValue == UInt32(number))
        }
        #expect(throws: EventChannelError.noFreePort) { try hypervisor.allocateUnbound(in: guest, for: .dom0) }
        #expect(throws: EventChannelError.noFreePort) {
            try hypervisor.bindInterdomain(in: guest, remote: .dom0, port: EventChannelPort(99))
        }
        try hypervisor.close(EventChannelPort(700), of: guest)
        #expect(try hypervisor.allocateUnbound(in: guest, for: .dom0) == EventChannelPort(700))
    }

    @Test func `a guest has 1023 ports, domain 0 as many as there are (E8)`() throws {
        var hypervisor = Hypervisor()
        let guest = try hypervisor.createDomain()
        for _ in 1...1023 { _ = try hypervisor.allocateUnbound(in: guest, for: .dom0) }
        #expect(throws: EventChannelError.noFreePort) { try hypervisor.allocateUnbound(in: guest, for: .dom0) }
        for _ in 1...131_071 { _ = try hypervisor.allocateUnbound(in: .dom0, for: guest) }
        #expect(throws: EventChannelError.noFreePort) { try hypervisor.allocateUnbound(in: .dom0, for: guest) }
    }

    @Test func `ports take turns, also where one never rests`() throws {
        var hypervisor = try threeDomains(limits: DomainLimits(maximumPort: 8000))
        let count = 5000
        for _ in 1...count {
            let port = try hypervisor.allocateUnbound(in: guest, for: .dom0)
            _ = try hypervisor.bindInterdomain(in: .dom0, remote: guest, port: port)
            _ = try hypervisor.send(port, from: guest)
        }
        // Port 1 is sent to again after each delivery; the others must not starve.
        var delivered: [UInt32] = []
        for _ in 0..<count {
            let next = hypervisor.nextPending(of: .dom0)
            delivered.append(try #require(next).rawValue)
            _ = try hypervisor.send(EventChannelPort(1), from: guest)
        }
        #expect(delivered == (1...UInt32(count)).map { $0 })
        #expect(hypervisor.nextPending(of: .dom0) == EventChannelPort(1))
    }

    @Test func `sparse ports take turns, upwards from the last one delivered`() throws {
        var hypervisor = try threeDomains(limits: DomainLimits(maximumPort: 9000))
        for _ in 1...9000 {
            let port = try hypervisor.allocateUnbound(in: guest, for: .dom0)
            _ = try hypervisor.bindInterdomain(in: .dom0, remote: guest, port: port)
        }
        while hypervisor.nextPending(of: .dom0) != nil {}
        var random = Choices(seed: 7)
        var last: UInt32 = 9000
        for _ in 0..<500 {
            // A few ports: near to each other, a word, a group of 4096 apart.
            let base = random.choose(below: 9000)
            let offsets = (0..<4).map { _ in random.choose(below: [2, 70, 4200, 9000][random.choose(below: 4)]) }
            let ports = Set(offsets.map { UInt32(1 + (base + $0) % 9000) }).sorted()
            for port in ports { _ = try hypervisor.send(EventChannelPort(port), from: guest) }
            let order = ports.filter { $0 > last } + ports.filter { $0 <= last }
            #expect(order.map { _ in hypervisor.nextPending(of: .dom0)?.rawValue } == order, "\(ports) after \(last)")
            last = order.last ?? last
        }
    }

    @Test func `only the first of several pending ports says that the domain was idle`() throws {
        var hypervisor = try threeDomains()
        let first = try channel(&hypervisor)
        let second = try channel(&hypervisor)
        #expect(try hypervisor.send(first.guest, from: guest)?.isFirst == true)
        #expect(try hypervisor.send(second.guest, from: guest)?.isFirst == false)
        _ = hypervisor.nextPending(of: .dom0)
        _ = hypervisor.nextPending(of: .dom0)
        #expect(try hypervisor.send(second.guest, from: guest)?.isFirst == true)
    }
}
