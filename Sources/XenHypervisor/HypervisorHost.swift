// SPDX-License-Identifier: MIT

public import XenInterface

/// What a world offers so that the domains in it can reach the one hypervisor it holds: a simulator hands it over directly, a live
/// world takes a lock around `body`.
public protocol HypervisorHost {
    /// Runs `body` with the hypervisor, alone.
    func withHypervisor<Result, Failure: Error>(
        _ body: (inout Hypervisor) throws(Failure) -> Result
    ) throws(Failure) -> Result

    /// A port has become pending; called after `withHypervisor` has returned, so without the lock.
    func deliver(_ upcall: Upcall)

    /// Sends an event as `Hypervisor.send(_:from:)` does, and delivers the upcall if there is one.
    ///
    /// Done with the two functions above, unless a host can do both at once.
    func notify(_ port: EventChannelPort, from domain: DomainID) throws(EventChannelError)

    /// Nobody can reach a page any more; called after `withHypervisor` has returned.
    func free(_ page: ReleasedPage)
}

extension HypervisorHost {
    /// Sends an event, then delivers the upcall if there is one.
    @inlinable
    public func notify(_ port: EventChannelPort, from domain: DomainID) throws(EventChannelError) {
        let upcall = try withHypervisor { (hypervisor) throws(EventChannelError) in
            try hypervisor.send(port, from: domain)
        }
        if let upcall { deliver(upcall) }
    }
}

/// The event channels of one domain of a host.
@frozen
public struct DomainEventChannels<Host: HypervisorHost>: EventChannels {
    /// Where the hypervisor is.
    public let host: Host
    /// The domain that acts.
    public let domain: DomainID

    /// Makes the view of one domain.
    @inlinable
    public init(of domain: DomainID, in host: Host) {
        self.host = host
        self.domain = domain
    }

    /// As `Hypervisor.allocateUnbound(in:for:)`.
    @inlinable
    public mutating func allocateUnbound(for remote: DomainID) throws(EventChannelError) -> EventChannelPort {
        try host.withHypervisor { (hypervisor) throws(EventChannelError) in
            try hypervisor.allocateUnbound(in: domain, for: remote)
        }
    }

    /// As `Hypervisor.bindInterdomain(in:remote:port:)`; the upcall of the new port goes to the host.
    @inlinable
    public mutating func bindInterdomain(
        _ remote: DomainID,
        port: EventChannelPort
    ) throws(EventChannelError) -> EventChannelPort {
        let (local, isFirst) = try host.withHypervisor { (hypervisor) throws(EventChannelError) in
            let isFirst = !hypervisor.hasPending(domain)
            return (try hypervisor.bindInterdomain(in: domain, remote: remote, port: port), isFirst)
        }
        host.deliver(Upcall(domain: domain, port: local, isFirst: isFirst))
        return local
    }

    /// As `Hypervisor.send(_:from:)`; an upcall goes to the host.
    @inlinable
    public mutating func notify(_ port: EventChannelPort) throws(EventChannelError) {
        try host.notify(port, from: domain)
    }

    /// As `Hypervisor.close(_:of:)`.
    @inlinable
    public mutating func close(_ port: EventChannelPort) throws(EventChannelError) {
        try host.withHypervisor { (hypervisor) throws(EventChannelError) in
            try hypervisor.close(port, of: domain)
        }
    }

    /// As `Hypervisor.nextPending(of:)`.
    @inlinable
    public mutating func nextPending() -> EventChannelPort? {
        host.withHypervisor { $0.nextPending(of: domain) }
    }
}

/// The grant table of one domain of a host. Pages are frame numbers, mappings descriptions: the memory is the host's business.
@frozen
public struct DomainGrants<Host: HypervisorHost>: GrantTable {
    /// Where the hypervisor is.
    public let host: Host
    /// The domain that acts.
    public let domain: DomainID

    /// Makes the view of one domain.
    @inlinable
    public init(of domain: DomainID, in host: Host) {
        self.host = host
        self.domain = domain
    }

    /// As `Hypervisor.grantAccess(to:frame:readOnly:of:)`.
    @inlinable
    public mutating func grantAccess(
        to grantee: DomainID,
        page: FrameNumber,
        readOnly: Bool
    ) throws(GrantError) -> GrantReference {
        try host.withHypervisor { (hypervisor) throws(GrantError) in
            try hypervisor.grantAccess(to: grantee, frame: page, readOnly: readOnly, of: domain)
        }
    }

    /// As `Hypervisor.endAccess(_:of:)`.
    @inlinable
    public mutating func endAccess(_ reference: GrantReference) throws(GrantError) {
        try host.withHypervisor { (hypervisor) throws(GrantError) in
            try hypervisor.endAccess(reference, of: domain)
        }
    }

    /// As `Hypervisor.map(_:of:readOnly:by:)`.
    @inlinable
    public mutating func map(
        _ reference: GrantReference,
        of owner: DomainID,
        readOnly: Bool
    ) throws(GrantError) -> GrantMapping {
        try host.withHypervisor { (hypervisor) throws(GrantError) in
            try hypervisor.map(reference, of: owner, readOnly: readOnly, by: domain)
        }
    }

    /// As `Hypervisor.unmap(_:by:)`; a page that was freed by it goes to the host.
    @inlinable
    public mutating func unmap(_ mapping: GrantMapping) throws(GrantError) {
        let page = try host.withHypervisor { (hypervisor) throws(GrantError) in
            try hypervisor.unmap(mapping, by: domain)
        }
        if let page { host.free(page) }
    }
}

extension DomainEventChannels: Sendable where Host: Sendable {}
extension DomainGrants: Sendable where Host: Sendable {}
