// SPDX-License-Identifier: MIT

public import XenInterface

/// What a port is, as `EVTCHNOP_status` tells it: `EVTCHNSTAT_*` (E1).
@frozen
public enum EventChannelState: Hashable, Sendable {
    /// `EVTCHNSTAT_closed`: free.
    case closed
    /// `EVTCHNSTAT_unbound`: accepts one bind from this domain.
    case unbound(DomainID)
    /// `EVTCHNSTAT_interdomain`: connected with a port of this domain.
    case interdomain(DomainID, EventChannelPort)
}

/// A port that has just become pending and is not masked: `evtchn_upcall_pending`. Nothing of the kind happens for a port that was pending already (E3).
@frozen
public struct Upcall: Hashable, Sendable {
    /// The domain that has something to look at.
    public var domain: DomainID
    /// The port that became pending.
    public var port: EventChannelPort
    /// Whether no other port of the domain was waiting: only then can its waiting thread be asleep.
    public var isFirst: Bool

    /// Makes an upcall.
    @inlinable
    public init(domain: DomainID, port: EventChannelPort, isFirst: Bool) {
        self.domain = domain
        self.port = port
        self.isFirst = isFirst
    }
}
