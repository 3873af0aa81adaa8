// SPDX-License-Identifier: MIT

/// The number of an operation in a message's header: `enum xsd_sockmsg_type` (D2).
///
/// Any number can arrive; those without a name are answered with `ENOSYS`.
@frozen
public struct StoreOperation: RawRepresentable, Hashable, Sendable {
    /// The number in the header.
    public let rawValue: UInt32

    /// Takes any number.
    @inlinable
    public init(rawValue: UInt32) {
        self.rawValue = rawValue
    }

    /// Takes any number.
    @inlinable
    public init(_ rawValue: UInt32) {
        self.rawValue = rawValue
    }
}

extension StoreOperation {
    /// `XS_CONTROL`.
    public static let control = StoreOperation(0)
    /// `XS_DIRECTORY`.
    public static let directory = StoreOperation(1)
    /// `XS_READ`.
    public static let read = StoreOperation(2)
    /// `XS_GET_PERMS`.
    public static let getPermissions = StoreOperation(3)
    /// `XS_WATCH`.
    public static let watch = StoreOperation(4)
    /// `XS_UNWATCH`.
    public static let unwatch = StoreOperation(5)
    /// `XS_TRANSACTION_START`.
    public static let transactionStart = StoreOperation(6)
    /// `XS_TRANSACTION_END`.
    public static let transactionEnd = StoreOperation(7)
    /// `XS_INTRODUCE`.
    public static let introduce = StoreOperation(8)
    /// `XS_RELEASE`.
    public static let release = StoreOperation(9)
    /// `XS_GET_DOMAIN_PATH`.
    public static let getDomainPath = StoreOperation(10)
    /// `XS_WRITE`.
    public static let write = StoreOperation(11)
    /// `XS_MKDIR`.
    public static let makeDirectory = StoreOperation(12)
    /// `XS_RM`.
    public static let remove = StoreOperation(13)
    /// `XS_SET_PERMS`.
    public static let setPermissions = StoreOperation(14)
    /// `XS_WATCH_EVENT`: from the store only.
    public static let watchEvent = StoreOperation(15)
    /// `XS_ERROR`: from the store only.
    public static let error = StoreOperation(16)
    /// `XS_IS_DOMAIN_INTRODUCED`.
    public static let isDomainIntroduced = StoreOperation(17)
    /// `XS_RESUME`.
    public static let resume = StoreOperation(18)
    /// `XS_SET_TARGET`.
    public static let setTarget = StoreOperation(19)
    /// `XS_RESET_WATCHES`.
    public static let resetWatches = StoreOperation(21)
    /// `XS_DIRECTORY_PART`.
    public static let directoryPart = StoreOperation(22)
    /// `XS_GET_FEATURE`: not in 4.17.
    public static let getFeature = StoreOperation(23)
    /// `XS_SET_FEATURE`: not in 4.17.
    public static let setFeature = StoreOperation(24)
    /// `XS_GET_QUOTA`: not in 4.17.
    public static let getQuota = StoreOperation(25)
    /// `XS_SET_QUOTA`: not in 4.17.
    public static let setQuota = StoreOperation(26)

    /// The names as `xs_wire.h` has them, without the prefix; empty where there is none.
    private static let names = [
        "CONTROL", "DIRECTORY", "READ", "GET_PERMS", "WATCH", "UNWATCH", "TRANSACTION_START", "TRANSACTION_END",
        "INTRODUCE", "RELEASE", "GET_DOMAIN_PATH", "WRITE", "MKDIR", "RM", "SET_PERMS", "WATCH_EVENT", "ERROR",
        "IS_DOMAIN_INTRODUCED", "RESUME", "SET_TARGET", "", "RESET_WATCHES", "DIRECTORY_PART", "GET_FEATURE",
        "SET_FEATURE", "GET_QUOTA", "SET_QUOTA",
    ]
}

extension StoreOperation: CustomStringConvertible {
    /// The name as in `xs_wire.h`, or the number.
    public var description: String {
        let names = StoreOperation.names
        guard rawValue < names.count, !names[Int(rawValue)].isEmpty else { return String(rawValue) }
        return names[Int(rawValue)]
    }
}
