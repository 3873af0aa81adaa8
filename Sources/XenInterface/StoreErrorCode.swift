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

extension StoreErrorCode: CustomStringConvertible {
    /// The name that crosses the wire.
    public var description: String { rawValue }
}
