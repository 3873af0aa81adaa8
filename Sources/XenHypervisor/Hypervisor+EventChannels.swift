// SPDX-License-Identifier: MIT

public import XenInterface

extension Hypervisor {
    /// Makes a port of `domain` that `remote` may bind to once: `EVTCHNOP_alloc_unbound` (E2).
    ///
    /// A toolstack may do so on a guest's behalf (B3). `remote` may be `DomainID.current`, and need not exist yet.
    public mutating func allocateUnbound(
        in domain: DomainID,
        for remote: DomainID
    ) throws(EventChannelError) -> EventChannelPort {
        guard status(of: domain) == .alive else { throw .noSuchDomain(domain) }
        return try allocate(.unbound(resolve(remote, for: domain)), in: domain)
    }

    /// Binds a new port of `domain` to one that `remote` has allocated for it: `EVTCHNOP_bind_interdomain` (E2).
    ///
    /// The new port is pending at once; the remote port gets no event. A full table counts before a wrong port.
    public mutating func bindInterdomain(
        in domain: DomainID,
        remote: DomainID,
        port: EventChannelPort
    ) throws(EventChannelError) -> EventChannelPort {
        guard status(of: domain) == .alive else { throw .noSuchDomain(domain) }
        let remote = resolve(remote, for: domain)
        guard status(of: remote) != .absent else { throw .noSuchDomain(remote) }
        guard domains[Int(domain.rawValue)].hasFreePort else { throw .noFreePort }
        guard state(of: port, in: remote) == .unbound(domain) else { throw .invalidPort(port) }
        let local = try allocate(.interdomain(remote, port), in: domain)
        domains[Int(remote.rawValue)].events.slots[Int(port.rawValue)].state = .interdomain(domain, local)
        _ = domains[Int(domain.rawValue)].events.raise(Int(local.rawValue))
        return local
    }

    /// Sends an event to the peer of `port`: `EVTCHNOP_send`. Returns the upcall if the peer's port became pending by it.
    ///
    /// Absorbed if the peer's port is pending already, kept back if it is masked (E3), dropped if there is no peer (E4). Allocates nothing.
    public mutating func send(
        _ port: EventChannelPort,
        from domain: DomainID
    ) throws(EventChannelError) -> Upcall? {
        switch state(of: port, in: domain) {
        case .interdomain(let remote, let remotePort):
            return raise(remotePort, of: remote)
        case .unbound:
            return nil
        case .closed:
            guard status(of: domain) == .alive else { throw .noSuchDomain(domain) }
            throw .invalidPort(port)
        }
    }

    /// The upcall that `send(_:from:)` would return now, for whoever can have the event taken at once, as by a vCPU that runs: the port's pending
    /// bit would be set and cleared again. Nil where it would, or would fail.
    public func upcall(ofSending port: EventChannelPort, from domain: DomainID) -> Upcall? {
        guard case .interdomain(let remote, let remotePort) = state(of: port, in: domain) else { return nil }
        let events = domains[Int(remote.rawValue)].events
        let slot = events.slots[Int(remotePort.rawValue)]
        guard !slot.isPending, !slot.isMasked else { return nil }
        return Upcall(domain: remote, port: remotePort, isFirst: events.ready.isEmpty)
    }

    /// Closes a port: `EVTCHNOP_close`. The peer's port waits for `domain` again and gets no event (E6).
    public mutating func close(_ port: EventChannelPort, of domain: DomainID) throws(EventChannelError) {
        try closePort(openPort(port, of: domain), of: domain)
    }

    /// Keeps a port's events back: they stay pending until `unmask(_:of:)` (E3).
    public mutating func mask(_ port: EventChannelPort, of domain: DomainID) throws(EventChannelError) {
        let number = try openPort(port, of: domain)
        domains[Int(domain.rawValue)].events.slots[number].isMasked = true
        domains[Int(domain.rawValue)].events.ready.remove(number)
    }

    /// Lets a port's events through: `EVTCHNOP_unmask`. Returns the upcall if one was kept back (E3).
    public mutating func unmask(_ port: EventChannelPort, of domain: DomainID) throws(EventChannelError) -> Upcall? {
        let number = try openPort(port, of: domain)
        let index = Int(domain.rawValue)
        guard domains[index].events.slots[number].isMasked else { return nil }
        domains[index].events.slots[number].isMasked = false
        guard domains[index].events.slots[number].isPending else { return nil }
        let isFirst = domains[index].events.ready.isEmpty
        domains[index].events.ready.insert(number)
        return Upcall(domain: domain, port: port, isFirst: isFirst)
    }

    /// Takes a pending, unmasked port of `domain` and clears its pending bit: look at the ring after, not before (E3).
    ///
    /// Ports take turns: no port is delivered twice while another one waits. Allocates nothing, and idle ports cost nothing.
    public mutating func nextPending(of domain: DomainID) -> EventChannelPort? {
        let index = Int(domain.rawValue)
        guard index < domains.count, let number = domains[index].events.takeNext() else { return nil }
        return EventChannelPort(UInt32(number))
    }

    /// Takes all pending, unmasked ports of `domain`, in the order in which `nextPending(of:)` would, and shows them to `body` (E3). Allocates
    /// nothing.
    public mutating func takePending(of domain: DomainID, _ body: (EventChannelPort) -> Void) {
        let index = Int(domain.rawValue)
        guard index < domains.count else { return }
        while let number = domains[index].events.takeNext() { body(EventChannelPort(UInt32(number))) }
    }

    /// Clears one port's pending bit, for whoever is told of it by other means than `nextPending(of:)`; look at the ring after (E3).
    ///
    /// Returns whether the bit was set.
    @discardableResult
    public mutating func takePending(_ port: EventChannelPort, of domain: DomainID) -> Bool {
        guard isPending(port, of: domain) else { return false }
        let number = Int(port.rawValue)
        domains[Int(domain.rawValue)].events.slots[number].isPending = false
        domains[Int(domain.rawValue)].events.ready.remove(number)
        return true
    }

    /// Whether `nextPending(of:)` would find a port.
    public func hasPending(_ domain: DomainID) -> Bool {
        let index = Int(domain.rawValue)
        return index < domains.count && !domains[index].events.ready.isEmpty
    }

    /// Whether a port's pending bit is set, masked or not.
    public func isPending(_ port: EventChannelPort, of domain: DomainID) -> Bool {
        let index = Int(domain.rawValue)
        guard index < domains.count, Int(port.rawValue) < domains[index].events.slots.count else { return false }
        return domains[index].events.slots[Int(port.rawValue)].isPending
    }

    /// What a port is: `EVTCHNOP_status`. `.closed` for ports and domains that are not there.
    public func state(of port: EventChannelPort, in domain: DomainID) -> EventChannelState {
        let index = Int(domain.rawValue)
        guard index < domains.count, Int(port.rawValue) < domains[index].events.slots.count else { return .closed }
        return domains[index].events.slots[Int(port.rawValue)].state
    }

    /// The open ports of a domain, by ascending number.
    public func openPorts(of domain: DomainID) -> [EventChannelPort] {
        guard Int(domain.rawValue) < domains.count else { return [] }
        let events = domains[Int(domain.rawValue)].events
        return events.slots.indices.filter(events.isOpen).map { EventChannelPort(UInt32($0)) }
    }

    func resolve(_ domain: DomainID, for caller: DomainID) -> DomainID {
        domain == .current ? caller : domain
    }

    mutating func closePort(_ number: Int, of domain: DomainID) {
        let index = Int(domain.rawValue)
        if case .interdomain(let remote, let port) = domains[index].events.slots[number].state {
            domains[Int(remote.rawValue)].events.slots[Int(port.rawValue)].state = .unbound(domain)
        }
        domains[index].events.close(number)
    }

    private mutating func raise(_ port: EventChannelPort, of domain: DomainID) -> Upcall? {
        guard let isFirst = domains[Int(domain.rawValue)].events.raise(Int(port.rawValue)) else { return nil }
        return Upcall(domain: domain, port: port, isFirst: isFirst)
    }

    private mutating func allocate(
        _ state: EventChannelState,
        in domain: DomainID
    ) throws(EventChannelError) -> EventChannelPort {
        let index = Int(domain.rawValue)
        guard domains[index].hasFreePort else { throw .noFreePort }
        return EventChannelPort(UInt32(domains[index].events.allocate(state)))
    }

    private func openPort(_ port: EventChannelPort, of domain: DomainID) throws(EventChannelError) -> Int {
        guard status(of: domain) == .alive else { throw .noSuchDomain(domain) }
        guard domains[Int(domain.rawValue)].events.isOpen(Int(port.rawValue)) else { throw .invalidPort(port) }
        return Int(port.rawValue)
    }
}
