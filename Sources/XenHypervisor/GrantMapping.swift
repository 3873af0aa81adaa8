// SPDX-License-Identifier: MIT

public import XenInterface

/// The number by which a domain unmaps what it mapped: `grant_handle_t`.
///
/// Xen gives freed numbers out again, so that a program that unmaps twice may hit a mapping made in between. The generation tells
/// the two apart: here the second unmap always fails with `GrantError.badHandle`.
@frozen
public struct GrantHandle: Hashable, Sendable {
    /// The number as Xen would give it: small, and given out again.
    public let number: UInt32
    /// How often the number had been given out before.
    public let generation: UInt32

    /// Makes a handle.
    @inlinable
    public init(number: UInt32, generation: UInt32) {
        self.number = number
        self.generation = generation
    }
}

/// A page of one domain in the hands of another. The page itself is the world's: `owner` and `frame` say which (F3).
@frozen
public struct GrantMapping: Hashable, Sendable {
    /// The number to unmap it by.
    public let handle: GrantHandle
    /// The domain that mapped it.
    public let mapper: DomainID
    /// The domain whose page it is.
    public let owner: DomainID
    /// The grant it was mapped by.
    public let reference: GrantReference
    /// The page, by its number in the owner's memory.
    public let frame: FrameNumber
    /// Whether writing through it is forbidden.
    public let isReadOnly: Bool

    /// Makes a mapping's description; only the hypervisor makes mappings.
    @inlinable
    public init(
        handle: GrantHandle,
        mapper: DomainID,
        owner: DomainID,
        reference: GrantReference,
        frame: FrameNumber,
        isReadOnly: Bool
    ) {
        self.handle = handle
        self.mapper = mapper
        self.owner = owner
        self.reference = reference
        self.frame = frame
        self.isReadOnly = isReadOnly
    }
}

/// A page that nobody can reach any more: its owner is dead, and the last mapping has gone. A world frees its memory now.
@frozen
public struct ReleasedPage: Hashable, Sendable {
    /// The domain whose page it was.
    public var domain: DomainID
    /// Its number in that domain's memory.
    public var frame: FrameNumber

    /// Names a page.
    @inlinable
    public init(domain: DomainID, frame: FrameNumber) {
        self.domain = domain
        self.frame = frame
    }
}

/// What a grant table entry says, as the granter sees it: `grant_entry_v1` (F1).
@frozen
public struct GrantEntry: Hashable, Sendable {
    /// Who may map the page.
    public var grantee: DomainID
    /// The page.
    public var frame: FrameNumber
    /// `GTF_readonly`: whether it may be mapped for reading only.
    public var isReadOnly: Bool
    /// How many mappings are for reading only; `GTF_reading` is set while there are any mappings.
    public var readers: Int
    /// How many mappings are for writing; `GTF_writing` is set while there are any.
    public var writers: Int

    /// Whether somebody maps the page, so that the grant cannot be ended (F5).
    public var isMapped: Bool { readers + writers > 0 }

    /// The flags word of the entry: permit_access 1, readonly 4, reading 8, writing 16 (F1).
    public var flags: UInt16 {
        1 | (isReadOnly ? 4 : 0) | (isMapped ? 8 : 0) | (writers > 0 ? 16 : 0)
    }
}
