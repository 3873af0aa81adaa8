// SPDX-License-Identifier: MIT

/// A number that names one kind of thing in Xen, so that a port cannot be passed for a grant reference.
public protocol XenNumber: RawRepresentable, Hashable, Sendable, CustomStringConvertible
where RawValue: FixedWidthInteger {
    /// Takes any number, whether or not it names something.
    init(rawValue: RawValue)
}

extension XenNumber {
    /// Takes any number, whether or not it names something.
    @inlinable
    public init(_ rawValue: RawValue) {
        self.init(rawValue: rawValue)
    }

    /// The decimal number, as in the store.
    @inlinable
    public var description: String { String(rawValue) }
}

/// The number of a domain: `domid_t`, 16 bits; the key `domid` in the store.
@frozen
public struct DomainID: XenNumber {
    /// The number.
    public let rawValue: UInt16

    /// Takes any number; those from `firstReserved` on name no domain.
    @inlinable
    public init(rawValue: UInt16) {
        self.rawValue = rawValue
    }

    /// The control domain, where the toolstack and usually the backends run.
    @inlinable
    public static var dom0: DomainID { DomainID(0) }

    /// The first number that is not a domain's: `DOMID_FIRST_RESERVED` (E8).
    @inlinable
    public static var firstReserved: DomainID { DomainID(0x7FF0) }

    /// "The caller's own domain" in hypercalls: `DOMID_SELF` (E8).
    @inlinable
    public static var current: DomainID { DomainID(0x7FF0) }

    /// Whether the number can be a domain's.
    @inlinable
    public var isValid: Bool { rawValue < DomainID.firstReserved.rawValue }
}

/// An entry of a domain's grant table, by which it lets another domain map one of its pages: `grant_ref_t`; the key `ring-ref`.
@frozen
public struct GrantReference: XenNumber {
    /// The index into the grant table.
    public let rawValue: UInt32

    /// Takes an index into a grant table.
    @inlinable
    public init(rawValue: UInt32) {
        self.rawValue = rawValue
    }

    /// The entry reserved for the primary console's page: `GNTTAB_RESERVED_CONSOLE` (B2, F2).
    @inlinable
    public static var console: GrantReference { GrantReference(0) }

    /// The entry reserved for the xenstore page: `GNTTAB_RESERVED_XENSTORE` (B2, F2).
    @inlinable
    public static var xenstore: GrantReference { GrantReference(1) }
}

/// A domain's end of an event channel: `evtchn_port_t`; the key `port`. 0 is never valid (E1).
@frozen
public struct EventChannelPort: XenNumber {
    /// The port number.
    public let rawValue: UInt32

    /// Takes a port number.
    @inlinable
    public init(rawValue: UInt32) {
        self.rawValue = rawValue
    }
}

/// The number of a page in a guest's memory: a `gfn`, in pages of 4096 bytes.
@frozen
public struct FrameNumber: XenNumber {
    /// The page's number, counted in pages.
    public let rawValue: UInt64

    /// Takes a page's number.
    @inlinable
    public init(rawValue: UInt64) {
        self.rawValue = rawValue
    }
}

/// The number of a device among those of its kind in a guest: the last component of `device/console/$DEVID`.
///
/// 0 is the primary console; channels have 1 and up. Linux frontends serve 1 to 9 only (B14, B36).
@frozen
public struct DeviceID: XenNumber {
    /// The number.
    public let rawValue: UInt32

    /// Takes a device's number.
    @inlinable
    public init(rawValue: UInt32) {
        self.rawValue = rawValue
    }

    /// The primary console, which has no xenbus states and whose port the toolstack makes (B1 to B4).
    @inlinable
    public static var primaryConsole: DeviceID { DeviceID(0) }
}
