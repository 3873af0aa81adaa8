// SPDX-License-Identifier: MIT

import XenHypervisor
import XenInterface

/// The same rules, written as plainly as possible: linear searches over small lists, no bitmaps, no free lists.
struct HypervisorModel {
    struct Port: Equatable {
        var domain: UInt16
        var number: UInt32
        var state: EventChannelState
        var isPending = false
        var isMasked = false
    }

    struct Grant: Equatable {
        var domain: UInt16
        var reference: UInt32
        var grantee: UInt16
        var frame: UInt64
        var isReadOnly: Bool
    }

    let maximumPort: UInt32
    var alive: Set<UInt16> = [0]
    var ports: [Port] = []
    var grants: [Grant] = []
    var mappings: [GrantMapping] = []

    func isZombie(_ domain: UInt16) -> Bool {
        !alive.contains(domain) && mappings.contains { $0.owner.rawValue == domain }
    }

    func index(_ domain: UInt16, _ number: UInt32) -> Int? {
        ports.firstIndex { $0.domain == domain && $0.number == number }
    }

    func lowestFree(_ domain: UInt16) -> UInt32? {
        (1...maximumPort).first { index(domain, $0) == nil }
    }

    mutating func allocate(_ domain: UInt16, _ state: EventChannelState) throws(EventChannelError) -> UInt32 {
        guard let number = lowestFree(domain) else { throw .noFreePort }
        ports.append(Port(domain: domain, number: number, state: state))
        return number
    }

    mutating func bind(_ domain: UInt16, _ remote: UInt16, _ port: UInt32) throws(EventChannelError) -> UInt32 {
        guard alive.contains(domain) else { throw .noSuchDomain(DomainID(domain)) }
        guard alive.contains(remote) || isZombie(remote) else { throw .noSuchDomain(DomainID(remote)) }
        guard lowestFree(domain) != nil else { throw .noFreePort }
        guard let peer = index(remote, port), ports[peer].state == .unbound(DomainID(domain)) else {
            throw .invalidPort(EventChannelPort(port))
        }
        let local = try allocate(domain, .interdomain(DomainID(remote), EventChannelPort(port)))
        ports[peer].state = .interdomain(DomainID(domain), EventChannelPort(local))
        if let own = index(domain, local) { ports[own].isPending = true }
        return local
    }

    func find(_ domain: UInt16, _ port: UInt32) throws(EventChannelError) -> Int {
        guard alive.contains(domain) else { throw .noSuchDomain(DomainID(domain)) }
        guard let index = index(domain, port) else { throw .invalidPort(EventChannelPort(port)) }
        return index
    }

    /// Whether the peer gets an upcall.
    mutating func send(_ domain: UInt16, _ port: UInt32) throws(EventChannelError) -> Bool {
        let index = try find(domain, port)
        guard case .interdomain(let remote, let remotePort) = ports[index].state,
            let peer = self.index(remote.rawValue, remotePort.rawValue), !ports[peer].isPending
        else { return false }
        ports[peer].isPending = true
        return !ports[peer].isMasked
    }

    mutating func close(_ domain: UInt16, _ port: UInt32) throws(EventChannelError) {
        let index = try find(domain, port)
        if case .interdomain(let remote, let remotePort) = ports[index].state,
            let peer = self.index(remote.rawValue, remotePort.rawValue)
        {
            ports[peer].state = .unbound(DomainID(domain))
        }
        ports.remove(at: index)
    }

    func ready(_ domain: UInt16) -> [UInt32] {
        ports.filter { $0.domain == domain && $0.isPending && !$0.isMasked }.map(\.number).sorted()
    }

    func grant(_ domain: UInt16, _ reference: UInt32) -> Grant? {
        grants.first { $0.domain == domain && $0.reference == reference }
    }

    func isMapped(_ grant: Grant) -> Bool {
        mappings.contains { $0.owner.rawValue == grant.domain && $0.reference.rawValue == grant.reference }
    }

    func mapError(_ reference: UInt32, of owner: UInt16, readOnly: Bool, by domain: UInt16) -> GrantError? {
        if !alive.contains(domain) { return .badDomain(DomainID(domain)) }
        if !alive.contains(owner) { return .badDomain(DomainID(owner)) }
        if reference >= 512 { return .badReference(GrantReference(reference)) }
        guard let grant = grant(owner, reference), grant.grantee == domain, readOnly || !grant.isReadOnly else {
            return .notGranted(GrantReference(reference))
        }
        return nil
    }

    /// The page that goes with a mapping, if it was the last of a dead domain's.
    mutating func unmap(_ mapping: GrantMapping) -> ReleasedPage? {
        mappings.removeAll { $0 == mapping }
        let isHeld = mappings.contains { $0.owner == mapping.owner && $0.frame == mapping.frame }
        let isDead = !alive.contains(mapping.owner.rawValue)
        return isDead && !isHeld ? ReleasedPage(domain: mapping.owner, frame: mapping.frame) : nil
    }

    mutating func destroy(_ domain: UInt16) {
        for port in ports where port.domain == domain { try? close(domain, port.number) }
        mappings.removeAll { $0.mapper.rawValue == domain }
        alive.remove(domain)
        grants.removeAll { $0.domain == domain }
    }
}
