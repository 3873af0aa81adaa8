// SPDX-License-Identifier: MIT

/// What one domain may do with a node, as one letter of a permission list (D6).
@frozen
public enum StoreAccess: UInt8, Hashable, Sendable {
    /// `n`: neither.
    case none = 0x6E
    /// `r`: read.
    case read = 0x72
    /// `w`: write.
    case write = 0x77
    /// `b`: both.
    case both = 0x62

    /// Whether reading is allowed.
    public var canRead: Bool { self == .read || self == .both }

    /// Whether writing is allowed.
    public var canWrite: Bool { self == .write || self == .both }
}

/// A node's permission list: its owner, what everybody unlisted may do, and the exceptions (D6, D10).
///
/// The C counterpart is an array of `struct xs_permissions`; over the wire each entry is a letter and a domid, `n0`, `r1`.
public struct StorePermissions: Hashable, Sendable {
    /// One entry: the first matching one counts.
    @frozen
    public struct Entry: Hashable, Sendable {
        /// Whom the entry is about.
        public var domain: DomainID
        /// What that domain may do.
        public var access: StoreAccess

        /// Makes an entry.
        public init(_ domain: DomainID, _ access: StoreAccess) {
            self.domain = domain
            self.access = access
        }
    }

    /// The domain that may do all.
    public var owner: DomainID
    /// What every domain without an entry of its own may do: the letter of the first entry.
    public var others: StoreAccess
    /// The entries behind the first.
    public var entries: [Entry]

    /// Makes a permission list.
    public init(owner: DomainID, others: StoreAccess = .none, _ entries: [Entry] = []) {
        self.owner = owner
        self.others = others
        self.entries = entries
    }

    /// Owned by one domain, readable by another: what a toolstack gives most nodes of a device (R1, R2).
    public static func owned(by owner: DomainID, readableBy reader: DomainID) -> StorePermissions {
        StorePermissions(owner: owner, [Entry(reader, .read)])
    }

    /// All entries in the order of the wire, the owner's first.
    public var list: [Entry] { [Entry(owner, others)] + entries }

    /// What `domain` may do by the list alone; the privileged domain and a target's owner have more (D10).
    public func access(of domain: DomainID) -> StoreAccess {
        if domain == owner { return .both }
        return entries.first { $0.domain == domain }?.access ?? others
    }
}

extension StorePermissions.Entry: CustomStringConvertible {
    /// Letter and domid, as over the wire.
    public var description: String {
        "\(Character(Unicode.Scalar(access.rawValue)))\(domain)"
    }

    /// Reads letter and domid as over the wire; nil for anything else.
    public init?(wire text: some StringProtocol) {
        guard let letter = text.utf8.first, let access = StoreAccess(rawValue: letter),
            let number = StoreValue(text.dropFirst()).decimal(UInt16.self)
        else { return nil }
        self.init(DomainID(number), access)
    }
}

extension StorePermissions: CustomStringConvertible {
    /// The entries as `xenstore-ls -p` prints them: `n0,r1`.
    public var description: String {
        list.map { $0.description }.joined(separator: ",")
    }
}
