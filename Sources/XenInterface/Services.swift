// SPDX-License-Identifier: MIT

// The three services of Xen that a split device needs. The machines of the floors above never call them: they return
// actions, and a world carries those out through these protocols, over fakes or over /dev/xen. Faults are wrappers around them.

/// A connection to the store, of one domain: `struct xs_handle`, or a guest's xenstore page.
public protocol StoreConnection: ~Copyable {
    /// Carries out one request and returns its reply.
    mutating func perform(_ request: StoreRequest, in transaction: StoreTransactionID) -> StoreReply

    /// Takes the oldest watch event that has not been taken yet.
    mutating func nextWatchEvent() -> StoreWatchEvent?
}

/// The event channels of one domain: `EVTCHNOP_*`, or `/dev/xen/evtchn`.
public protocol EventChannels: ~Copyable {
    /// Makes a port that `remote` may bind to: `EVTCHNOP_alloc_unbound` (E2).
    mutating func allocateUnbound(for remote: DomainID) throws(EventChannelError) -> EventChannelPort

    /// Binds to a port that `remote` has allocated for this domain: `EVTCHNOP_bind_interdomain` (E2).
    ///
    /// The new port is pending at once.
    mutating func bindInterdomain(
        _ remote: DomainID,
        port: EventChannelPort
    ) throws(EventChannelError) -> EventChannelPort

    /// Sends an event: `EVTCHNOP_send`. Absorbed if the peer's port is pending already, dropped if it is not bound (E3, E4).
    mutating func notify(_ port: EventChannelPort) throws(EventChannelError)

    /// Closes a port: `EVTCHNOP_close`. The peer gets no event, and its port can be bound to again (E6).
    mutating func close(_ port: EventChannelPort) throws(EventChannelError)

    /// Takes a pending, unmasked port and clears its pending bit; look at the ring after, not before (E3).
    mutating func nextPending() -> EventChannelPort?
}

/// What an event channel operation fails with, by the errno of the hypercall (E2, E4, E6).
public enum EventChannelError: Error, Hashable, Sendable {
    /// `ESRCH`: no such domain.
    case noSuchDomain(DomainID)
    /// `EINVAL`: the port is closed, bound already, or meant for another domain.
    case invalidPort(EventChannelPort)
    /// `ENOSPC`: the domain has no free port.
    case noFreePort
}

/// The grant table of one domain: granting its own pages, and mapping those of others: `GNTTABOP_*`, gntalloc and gntdev.
public protocol GrantTable: ~Copyable {
    /// A page of the domain's own.
    associatedtype Page
    /// A page of another domain, mapped.
    associatedtype Mapping

    /// Lets `domain` map `page`.
    mutating func grantAccess(
        to domain: DomainID,
        page: Page,
        readOnly: Bool
    ) throws(GrantError) -> GrantReference

    /// Takes a grant back; fails with `.inUse` as long as somebody maps the page: it cannot be revoked (F5).
    mutating func endAccess(_ reference: GrantReference) throws(GrantError)

    /// Maps the page that `domain` granted as `reference`.
    mutating func map(
        _ reference: GrantReference,
        of domain: DomainID,
        readOnly: Bool
    ) throws(GrantError) -> Mapping

    /// Unmaps; the mapping is dead afterwards.
    mutating func unmap(_ mapping: Mapping) throws(GrantError)
}

/// What a grant operation fails with: `GNTST_*` (F3 to F5).
public enum GrantError: Error, Hashable, Sendable {
    /// `GNTST_bad_domain`, -2: no such domain.
    case badDomain(DomainID)
    /// `GNTST_bad_gntref`, -3: no such entry.
    case badReference(GrantReference)
    /// `GNTST_bad_handle`, -4: not mapped, or unmapped already.
    case badHandle
    /// `GNTST_general_error`, -1: not granted, granted to another domain, or read-only and mapped for writing.
    case notGranted(GrantReference)
    /// `GNTST_no_device_space`, -7, or a full table: no room for one more.
    case noSpace
    /// The page is mapped: the grant cannot be ended now.
    case inUse(GrantReference)
}
