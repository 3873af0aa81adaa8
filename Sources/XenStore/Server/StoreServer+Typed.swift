// SPDX-License-Identifier: MIT

public import XenInterface

extension StoreServer {
    /// Carries out one request and returns its reply; watch events and the rest go to `sink`.
    ///
    /// Whatever the client asks for, it gets an answer. On a connection that is gone every request is answered with `EIO`.
    @discardableResult
    public mutating func perform(
        _ request: StoreRequest,
        in transaction: StoreTransactionID = .none,
        on connection: StoreConnectionID,
        into sink: inout some StoreOutputSink & ~Copyable
    ) -> StoreReply {
        let reply = reply(to: request, in: transaction, on: connection)
        drain(into: &sink)
        return reply
    }

    mutating func reply(
        to request: StoreRequest,
        in transaction: StoreTransactionID,
        on connection: StoreConnectionID
    ) -> StoreReply {
        guard let slot = slot(of: connection) else { return .failure(.inputOutput) }
        do throws(StoreErrorCode) {
            let caller = try caller(slot, request.operation, transaction)
            return try carryOut(request, caller)
        } catch {
            return .failure(error)
        }
    }

    /// The caller, if it may use the operation and its transaction is open; WATCH and UNWATCH are never in one (D14, D34).
    @inline(__always)
    func caller(
        _ slot: Int,
        _ operation: StoreOperation,
        _ transaction: StoreTransactionID
    ) throws(StoreErrorCode) -> Caller {
        guard let domain = connections[slot]?.domain, let target = connections[slot]?.target else {
            throw .inputOutput
        }
        guard domain == .dom0 || !operation.isPrivileged else { throw .accessDenied }
        var index: Int?
        if transaction != .none, operation != .watch, operation != .unwatch {
            index = connections[slot]?.index(of: transaction.rawValue)
            guard index != nil else { throw .noEntry }
        }
        return Caller(slot: slot, domain: Int32(domain.rawValue), target: target, transaction: index)
    }

    private mutating func carryOut(
        _ request: StoreRequest,
        _ caller: Caller
    ) throws(StoreErrorCode) -> StoreReply {
        switch request {
        case .directory(let path):
            let place = try readable(path, caller)
            return .children(names(try listing(place, caller)))
        case .directoryPart(let path, let offset):
            let place = try readable(path, caller)
            let part = listingPart(place, offset: offset, caller)
            return .part(generation: part.generation, children: names(part.bytes), isLast: part.isLast)
        case .read(let path):
            let place = try readable(path, caller)
            return .value(value(place, caller))
        case .write(let path, let value):
            // What fits no message no client sends.
            guard path.text.utf8.count + 1 + value.count <= StoreMessage.maximumPayload else { throw .tooBig }
            if isPlain(path) {
                try write(path.text, value, caller)
            } else {
                try write(try absolute(path, caller), value, caller)
            }
        case .makeDirectory(let path):
            try makeDirectory(try absolute(path, caller), caller)
        case .remove(let path):
            try remove(try absolute(path, caller), caller)
        case .getPermissions(let path):
            let place = try readable(path, caller)
            return .permissions(typed(permissionList(place, caller)))
        case .setPermissions(let path, let list):
            let entries = list.list.map { PermissionEntry(domain: Int32($0.domain.rawValue), access: $0.access) }
            try setPermissions(of: path, try admit(entries, caller), caller)
        case .watch, .unwatch, .resetWatches, .beginTransaction, .endTransaction:
            return try carryOutOnConnection(request, caller)
        case .introduce, .release, .resume, .setTarget, .isIntroduced, .domainPath:
            return try carryOutOnDomain(request, caller)
        }
        return .done
    }

    private mutating func carryOutOnConnection(
        _ request: StoreRequest,
        _ caller: Caller
    ) throws(StoreErrorCode) -> StoreReply {
        switch request {
        case .watch(let path, let token, let depth):
            let target = try watchTarget(path, caller)
            sendFirstEvent(of: try watch(target, token: StoreToken(token), depth: depth, caller))
        case .unwatch(let path, let token):
            try unwatch(try watchTarget(path, caller), token: StoreToken(token), caller)
        case .resetWatches:
            removeWatches(of: caller.slot)
            removeTransactions(of: caller.slot)
        case .beginTransaction:
            return .transaction(try beginTransaction(caller))
        case .endTransaction(let commit):
            try endTransaction(commit: commit, caller)
        case .directory, .directoryPart, .read, .write, .makeDirectory, .remove, .getPermissions, .setPermissions,
            .introduce, .release, .resume, .setTarget, .isIntroduced, .domainPath:
            throw .invalid
        }
        return .done
    }

    private mutating func carryOutOnDomain(
        _ request: StoreRequest,
        _ caller: Caller
    ) throws(StoreErrorCode) -> StoreReply {
        switch request {
        case .introduce(let domain, let frame, let port):
            try introduce(
                UInt32(domain.rawValue),
                frame: UInt32(truncatingIfNeeded: frame.rawValue),
                port: port.rawValue
            )
        case .release(let domain):
            try release(UInt32(domain.rawValue))
        case .resume(let domain):
            try resume(UInt32(domain.rawValue))
        case .setTarget(let domain, let target):
            try setTarget(UInt32(domain.rawValue), UInt32(target.rawValue))
        case .isIntroduced(let domain):
            return .flag(isIntroduced(domain))
        case .domainPath(let domain):
            return .path(.domain(domain))
        case .directory, .directoryPart, .read, .write, .makeDirectory, .remove, .getPermissions, .setPermissions,
            .watch, .unwatch, .resetWatches, .beginTransaction, .endTransaction:
            throw .invalid
        }
        return .done
    }

    // MARK: Paths

    /// The node at a path of the caller's, if it may be read.
    private mutating func readable(_ path: StorePath, _ caller: Caller) throws(StoreErrorCode) -> Place {
        if isPlain(path) { return try node(path.text, .read, caller) }
        return try node(try absolute(path, caller), .read, caller)
    }

    /// Whether a path is absolute and within whatever limit there is, as most are: those that are used most are asked this first, since they
    /// need no text of their own then.
    @inline(__always)
    private func isPlain(_ path: StorePath) -> Bool {
        path.text.withBytes {
            $0[0] == StoreTree.slash && $0.count <= min(quotas.pathLength, StoreServer.maximumPath)
        }
    }

    /// The absolute path that a path of the caller's means; special names are no nodes (D8, D9).
    ///
    /// As other functions that many requests use, it is `mutating` though it changes nothing: from within one that is, Swift 6.3 calls any
    /// other with a copy of the whole value, some 400 bytes.
    mutating func absolute(_ path: StorePath, _ caller: Caller) throws(StoreErrorCode) -> String {
        if isPlain(path) { return path.text }
        guard !path.isSpecial else { throw .invalid }
        let text = path.isAbsolute ? path.text : home(of: caller) + path.text
        guard isShortEnough(text) else { throw .invalid }
        return text
    }

    /// `/local/domain/$DOMID/` of the caller.
    mutating func home(of caller: Caller) -> String {
        connections[caller.slot]?.home ?? ""
    }

    private mutating func watchTarget(_ path: StorePath, _ caller: Caller) throws(StoreErrorCode) -> WatchTarget {
        if path.isSpecial {
            guard path.text.utf8.count <= StoreServer.maximumSpecialName else { throw .invalid }
            return .special(StoreToken(path.text))
        }
        let text = try absolute(path, caller)
        return .path(text, prefix: text.utf8.count - path.text.utf8.count)
    }

    /// `XENSTORE_REL_PATH_MAX`.
    static var maximumSpecialName: Int { 2048 }

    /// `XENSTORE_ABS_PATH_MAX`: holds whatever the quota.
    private static var maximumPath: Int { 3072 }

    /// A leading `/local/domain/$DOMID/`, of up to five digits or a sign and four, does not count (D8).
    mutating func isShortEnough(_ path: String) -> Bool {
        let count = path.utf8.count
        guard count <= StoreServer.maximumPath else { return false }
        if count <= quotas.pathLength { return true }
        let prefix = "/local/domain/"
        guard path.hasPrefix(prefix) else { return false }
        let rest = path.utf8.dropFirst(prefix.utf8.count)
        let sign = rest.first == UInt8(ascii: "-") ? 1 : 0
        let digits = rest.dropFirst(sign).prefix(5 - sign).prefix { (0x30...0x39).contains($0) }
        let number = sign + digits.count
        guard !digits.isEmpty, rest.dropFirst(number).first == StoreTree.slash else { return false }
        return count - prefix.utf8.count - number - 1 <= quotas.pathLength
    }

    mutating func setPermissions(
        of path: StorePath,
        _ list: [PermissionEntry],
        _ caller: Caller
    ) throws(StoreErrorCode) {
        if path.isSpecial {
            try setSpecialPermissions(path.text, list, caller)
        } else {
            try setPermissions(try absolute(path, caller), list, caller)
        }
    }

    // MARK: Listings

    /// The children in the order in which they are listed (D20).
    private mutating func listedChildren(_ place: Place, _ caller: Caller) -> [Place] {
        let children = children(place, caller)
        guard rules.sortsListings else { return children }
        return children.sorted { tree.nameBytes(of: $0).lexicographicallyPrecedes(tree.nameBytes(of: $1)) }
    }

    /// The children's names with a NUL each; more than fits a message is refused (D20).
    mutating func listing(_ place: Place, _ caller: Caller) throws(StoreErrorCode) -> [UInt8] {
        let size = listingSize(place, caller)
        guard size <= StoreMessage.maximumPayload else { throw .tooBig }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(size)
        for child in listedChildren(place, caller) {
            bytes.append(contentsOf: tree.nameBytes(of: child))
            bytes.append(0)
        }
        return bytes
    }

    /// As much of the listing from an offset on as fits one message with the stamp before it, in whole names (D20).
    mutating func listingPart(
        _ place: Place,
        offset: UInt32,
        _ caller: Caller
    ) -> (generation: UInt64, bytes: [UInt8], isLast: Bool) {
        let generation = stamp(place, caller)
        let room = StoreMessage.maximumPayload - (String(generation).utf8.count + 1) - 1
        var bytes: [UInt8] = []
        // Where the next name begins, counted from the offset.
        var start = -Int(offset)
        for child in listedChildren(place, caller) {
            let size = Int(tree.nameSize(child))
            let rest = min(size, start + size)
            start += size
            guard rest > 0 else { continue }
            guard bytes.count + rest <= room else { return (generation, bytes, false) }
            bytes.append(contentsOf: tree.nameBytes(of: child).suffix(rest - 1))
            bytes.append(0)
        }
        return (generation, bytes, true)
    }

    /// Names with a NUL each as texts.
    private func names(_ bytes: [UInt8]) -> [String] {
        PayloadText.strings(in: bytes).map { String(decoding: bytes[$0], as: UTF8.self) }
    }

    /// A permission list for those who speak of domains by `DomainID`; entries for numbers no domain can have are left out.
    private func typed(_ number: Int32) -> StorePermissions {
        let list = permissions[number]
        let entries = list.dropFirst().compactMap { entry in
            UInt16(exactly: entry.domain).map { StorePermissions.Entry(DomainID($0), entry.access) }
        }
        let owner = DomainID(UInt16(truncatingIfNeeded: list[0].domain))
        return StorePermissions(owner: owner, others: list[0].access, entries)
    }
}

extension StoreOperation {
    /// Whether only dom0 may use it (D14).
    var isPrivileged: Bool {
        self == .control || self == .introduce || self == .release || self == .isDomainIntroduced
            || self == .resume || self == .setTarget || self == .setFeature || self == .getQuota || self == .setQuota
    }
}
