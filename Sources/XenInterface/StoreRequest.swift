// SPDX-License-Identifier: MIT

/// The number of an open transaction on one connection: `tx_id`; `none` outside of any (D36).
@frozen
public struct StoreTransactionID: RawRepresentable, Hashable, Sendable {
    /// The number in the wire header.
    public let rawValue: UInt32

    /// Takes a number from the wire.
    public init(rawValue: UInt32) {
        self.rawValue = rawValue
    }

    /// Outside of any transaction.
    public static var none: StoreTransactionID { StoreTransactionID(rawValue: 0) }
}

/// What a client asks of the store: the operations of `enum xsd_sockmsg_type`, with their arguments (D2, D4).
@frozen
public enum StoreRequest: Hashable, Sendable {
    /// `XS_DIRECTORY`: the names of a node's children. Answered by `.children`.
    case directory(StorePath)
    /// `XS_DIRECTORY_PART`: children from a byte offset on, for listings beyond one message (D20). Answered by `.part`.
    case directoryPart(StorePath, offset: UInt32)
    /// `XS_READ`: a node's value. Answered by `.value`.
    case read(StorePath)
    /// `XS_WRITE`: sets a value, making the node and its ancestors as needed (D16).
    case write(StorePath, StoreValue)
    /// `XS_MKDIR`: makes a node if there is none (D17).
    case makeDirectory(StorePath)
    /// `XS_RM`: removes a node and all below (D18).
    case remove(StorePath)
    /// `XS_GET_PERMS`. Answered by `.permissions`.
    case getPermissions(StorePath)
    /// `XS_SET_PERMS` (D13).
    case setPermissions(StorePath, StorePermissions)
    /// `XS_WATCH`: registers a watch, which fires once at once (D27); `depth` limits how far below (D33).
    case watch(StorePath, token: String, depth: UInt32? = nil)
    /// `XS_UNWATCH` (D35).
    case unwatch(StorePath, token: String)
    /// `XS_RESET_WATCHES`: drops all watches and transactions of the connection (D24).
    case resetWatches
    /// `XS_TRANSACTION_START`. Answered by `.transaction`.
    case beginTransaction
    /// `XS_TRANSACTION_END`: the transaction is the one the request is sent in. Conflicts answer `EAGAIN` (D38).
    case endTransaction(commit: Bool)
    /// `XS_INTRODUCE`: a domain's xenstore page and port (D23).
    case introduce(DomainID, FrameNumber, EventChannelPort)
    /// `XS_RELEASE` (D23).
    case release(DomainID)
    /// `XS_RESUME` (D25).
    case resume(DomainID)
    /// `XS_SET_TARGET`: the first domain may do what the second may (D25).
    case setTarget(DomainID, target: DomainID)
    /// `XS_IS_DOMAIN_INTRODUCED`. Answered by `.flag` (D22).
    case isIntroduced(DomainID)
    /// `XS_GET_DOMAIN_PATH`. Answered by `.path` (D21).
    case domainPath(DomainID)
}

/// What the store answers.
@frozen
public enum StoreReply: Hashable, Sendable {
    /// Done; nothing to tell.
    case done
    /// A node's value.
    case value(StoreValue)
    /// Names of children, in the store's order, which means nothing (D20).
    case children([String])
    /// A piece of a listing: start again when `generation` changes between two pieces.
    case part(generation: UInt64, children: [String], isLast: Bool)
    /// A permission list.
    case permissions(StorePermissions)
    /// The transaction that was opened.
    case transaction(StoreTransactionID)
    /// Yes or no.
    case flag(Bool)
    /// A path.
    case path(StorePath)
    /// Refused.
    case failure(StoreErrorCode)
}

/// A change below a watched path, or one of the two special names; "look again", never "one change" (D31).
@frozen
public struct StoreWatchEvent: Hashable, Sendable {
    /// What changed, spelled as the watch was: relative if it was relative (D29).
    public var path: StorePath
    /// The text given at registration.
    public var token: String

    /// Makes an event.
    public init(path: StorePath, token: String) {
        self.path = path
        self.token = token
    }
}
