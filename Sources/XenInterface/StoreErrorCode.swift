// SPDX-License-Identifier: MIT

/// An error of the store, by the name that crosses the wire (D3).
@frozen
public enum StoreErrorCode: String, Hashable, Sendable, CaseIterable, Error {
    /// Malformed request, path or value.
    case invalid = "EINVAL"
    /// Not permitted; also hides that a node is missing (D11).
    case accessDenied = "EACCES"
    /// The watch exists (D28).
    case exists = "EEXIST"
    /// Is a directory.
    case isDirectory = "EISDIR"
    /// No such node, watch or transaction.
    case noEntry = "ENOENT"
    /// Out of memory.
    case noMemory = "ENOMEM"
    /// Over a quota (D41).
    case noSpace = "ENOSPC"
    /// Input or output failed; inside a transaction, a conflict (R27).
    case inputOutput = "EIO"
    /// Not empty.
    case notEmpty = "ENOTEMPTY"
    /// The operation is not known.
    case notImplemented = "ENOSYS"
    /// Read-only.
    case readOnly = "EROFS"
    /// Busy: a transaction within a transaction (D36).
    case busy = "EBUSY"
    /// Conflict at commit: run the transaction again (D38).
    case again = "EAGAIN"
    /// Connected already.
    case isConnected = "EISCONN"
    /// Too large, or over a quota (D20, D41).
    case tooBig = "E2BIG"
    /// Not the owner's to give away (D13).
    case notPermitted = "EPERM"
    /// Over a quota, in oxenstored's words (D43).
    case quota = "EQUOTA"
}

/// Several errors of the store.
@frozen
public struct StoreErrorCodes: OptionSet, Hashable, Sendable {
    /// A bit for each error, in the order of the cases of `StoreErrorCode`.
    public let rawValue: UInt32

    /// Takes a bit for each error.
    public init(rawValue: UInt32) {
        self.rawValue = rawValue
    }

    /// One error.
    public init(_ code: StoreErrorCode) {
        rawValue = 1 << code.number
    }

    /// Not permitted.
    public static var accessDenied: StoreErrorCodes { StoreErrorCodes(.accessDenied) }
    /// No such node, watch or transaction.
    public static var noEntry: StoreErrorCodes { StoreErrorCodes(.noEntry) }
    /// Too large.
    public static var tooBig: StoreErrorCodes { StoreErrorCodes(.tooBig) }
    /// Whatever the store may answer.
    public static var all: StoreErrorCodes { StoreErrorCodes(rawValue: .max) }

    /// Whether `code` is one of them.
    public func contains(_ code: StoreErrorCode) -> Bool {
        rawValue >> code.number & 1 == 1
    }
}

extension StoreErrorCode {
    /// Counts the cases.
    fileprivate var number: UInt32 {
        switch self {
        case .invalid: 0
        case .accessDenied: 1
        case .exists: 2
        case .isDirectory: 3
        case .noEntry: 4
        case .noMemory: 5
        case .noSpace: 6
        case .inputOutput: 7
        case .notEmpty: 8
        case .notImplemented: 9
        case .readOnly: 10
        case .busy: 11
        case .again: 12
        case .isConnected: 13
        case .tooBig: 14
        case .notPermitted: 15
        case .quota: 16
        }
    }
}

extension StoreErrorCode: CustomStringConvertible {
    /// The name that crosses the wire.
    public var description: String { rawValue }
}
