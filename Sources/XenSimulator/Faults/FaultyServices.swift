// SPDX-License-Identifier: MIT

public import XenInterface

/// A connection to a store that sometimes refuses, and whose watch events come late or twice.
///
/// Refusals are those a real store could give for the request at hand. A commit that is refused ends its transaction.
public struct FaultyStore<Base: StoreConnection>: StoreConnection {
    /// The connection behind it.
    public var base: Base
    /// Whether the client may run into quotas and permissions; a toolstack does not.
    public let isUnprivileged: Bool
    private let chance: Chance
    private var repeated: StoreWatchEvent?

    /// Wraps a connection.
    public init(_ base: Base, isUnprivileged: Bool, chance: Chance) {
        self.base = base
        self.isUnprivileged = isUnprivileged
        self.chance = chance
    }

    /// Carries out one request, or refuses it.
    public mutating func perform(_ request: StoreRequest, in transaction: StoreTransactionID) -> StoreReply {
        guard let refusal = refusal(of: request, in: transaction) else { return base.perform(request, in: transaction) }
        if case .endTransaction = request {
            _ = base.perform(.endTransaction(commit: false), in: transaction)
        }
        return .failure(refusal)
    }

    /// Takes the oldest watch event; nil also if the event is late.
    public mutating func nextWatchEvent() -> StoreWatchEvent? {
        if let event = repeated {
            repeated = nil
            return event
        }
        if chance.strikes(.watchDelayed) { return nil }
        guard let event = base.nextWatchEvent() else { return nil }
        if chance.strikes(.watchRepeated) { repeated = event }
        return event
    }

    /// Whether an event waits here that the base does not know of.
    public var holdsEvent: Bool { repeated != nil }

    private func refusal(of request: StoreRequest, in transaction: StoreTransactionID) -> StoreErrorCode? {
        switch request {
        case .endTransaction(commit: true):
            return chance.strikes(.storeAgain) ? .again : nil
        case .write, .makeDirectory:
            guard isUnprivileged else { return nil }
            return chance.strikes(.storeQuota) ? .quota : chance.strikes(.storeAccessDenied) ? .accessDenied : nil
        case .watch, .beginTransaction:
            return isUnprivileged && chance.strikes(.storeQuota) ? .quota : nil
        case .read, .directory:
            guard isUnprivileged else { return nil }
            return chance.strikes(.storeAccessDenied) ? .accessDenied : chance.strikes(.storeNoEntry) ? .noEntry : nil
        case .remove:
            return transaction != .none && chance.strikes(.storeConflict) ? .inputOutput : nil
        case .directoryPart, .getPermissions, .setPermissions, .unwatch, .resetWatches,
            .endTransaction(commit: false), .introduce, .release, .resume, .setTarget, .isIntroduced, .domainPath:
            return nil
        }
    }
}

/// Event channels that are noticed late, or not at all, and of which there are sometimes no more.
public struct FaultyEvents<Base: EventChannels>: EventChannels {
    /// The event channels behind it.
    public var base: Base
    private let chance: Chance
    private var repeated: EventChannelPort?

    /// Wraps the event channels of a domain.
    public init(_ base: Base, chance: Chance) {
        self.base = base
        self.chance = chance
    }

    /// Allocates a port, or finds none.
    public mutating func allocateUnbound(for remote: DomainID) throws(EventChannelError) -> EventChannelPort {
        if chance.strikes(.portRefused) { throw .noFreePort }
        return try base.allocateUnbound(for: remote)
    }

    /// Binds a port, or finds none.
    public mutating func bindInterdomain(
        _ remote: DomainID,
        port: EventChannelPort
    ) throws(EventChannelError) -> EventChannelPort {
        if chance.strikes(.portRefused) { throw .noFreePort }
        return try base.bindInterdomain(remote, port: port)
    }

    /// Sends an event; drops it if the plan is unfaithful to Xen.
    public mutating func notify(_ port: EventChannelPort) throws(EventChannelError) {
        if chance.strikes(.droppedEvent) { return }
        try base.notify(port)
    }

    /// Closes a port.
    public mutating func close(_ port: EventChannelPort) throws(EventChannelError) {
        try base.close(port)
    }

    /// Takes a pending port; nil also if its event is late.
    public mutating func nextPending() -> EventChannelPort? {
        if let port = repeated {
            repeated = nil
            return port
        }
        guard !chance.strikes(.eventDelayed), let port = base.nextPending() else { return nil }
        if chance.strikes(.eventSpurious) { repeated = port }
        return port
    }

    /// Whether an event waits here that the base does not know of.
    public var holdsEvent: Bool { repeated != nil }
}

/// A grant table that sometimes has no room for a mapping.
public struct FaultyGrants<Base: GrantTable>: GrantTable {
    /// A page of the domain's own.
    public typealias Page = Base.Page
    /// A page of another domain, mapped.
    public typealias Mapping = Base.Mapping

    /// The grant table behind it.
    public var base: Base
    private let chance: Chance

    /// Wraps the grant table of a domain.
    public init(_ base: Base, chance: Chance) {
        self.base = base
        self.chance = chance
    }

    /// Grants a page.
    public mutating func grantAccess(
        to domain: DomainID,
        page: Base.Page,
        readOnly: Bool
    ) throws(GrantError) -> GrantReference {
        try base.grantAccess(to: domain, page: page, readOnly: readOnly)
    }

    /// Takes a grant back.
    public mutating func endAccess(_ reference: GrantReference) throws(GrantError) {
        try base.endAccess(reference)
    }

    /// Maps a page, or finds no room.
    public mutating func map(
        _ reference: GrantReference,
        of domain: DomainID,
        readOnly: Bool
    ) throws(GrantError) -> Base.Mapping {
        if chance.strikes(.mapFailed) { throw .noSpace }
        return try base.map(reference, of: domain, readOnly: readOnly)
    }

    /// Unmaps a page.
    public mutating func unmap(_ mapping: Base.Mapping) throws(GrantError) {
        try base.unmap(mapping)
    }
}
