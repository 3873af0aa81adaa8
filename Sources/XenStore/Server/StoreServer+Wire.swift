// SPDX-License-Identifier: MIT

import XenInterface

extension StoreServer {
    /// Answers one message of a client; the reply goes to `sink` as well, among the events in the order of the daemon (D51).
    ///
    /// Total: whatever the message holds, there is exactly one reply. On a connection that is gone nothing happens.
    public mutating func handle(
        _ message: StoreMessage,
        from connection: StoreConnectionID,
        into sink: inout some StoreOutputSink & ~Copyable
    ) {
        answer(message, from: connection)
        drain(into: &sink)
    }

    private mutating func answer(_ message: StoreMessage, from connection: StoreConnectionID) {
        guard let slot = slot(of: connection) else { return }
        let mark = (outbox.count, outputs.count)
        let comesFirst = rules.repliesPrecedeEvents || releasesNext(message, connection)
        var firstEvent: Int32?
        var reply = message
        do throws(StoreErrorCode) {
            reply.payload = try payload(answering: message, slot, &firstEvent)
            guard reply.payload.count <= StoreMessage.maximumPayload else { throw .tooBig }
            guard hasRoom(forReply: reply, to: slot) else { throw .noMemory }
        } catch {
            reply.operation = .error
            reply.payload = [UInt8](error.rawValue.utf8) + [0]
        }
        let end = (outbox.count, outputs.count)
        put(out: .message(reply, to: connection), at: comesFirst ? mark : end)
        // The first event of a watch follows its reply (D27).
        if let firstEvent { sendFirstEvent(of: firstEvent) }
    }

    /// Whether the message releases the domain whose ring was connected next after the client.
    ///
    /// xenstored holds on to the connection that it will serve next: such a domain goes only after the reply is queued,
    /// any other before (D23).
    private func releasesNext(_ message: StoreMessage, _ connection: StoreConnectionID) -> Bool {
        guard message.operation == .release, let range = PayloadText.soleString(in: message.payload),
            let ring = domains[PayloadText.decimalPrefix(message.payload[range])]?.ring
        else { return false }
        return connectionIDs.first { $0 > connection } == ring
    }

    /// Whether the asker's memory has room for a reply that waits; a small one always finds some (D41).
    private func hasRoom(forReply reply: StoreMessage, to slot: Int) -> Bool {
        guard reply.payload.count > StoreServer.smallReply, let domain = connections[slot]?.domain else { return true }
        return mayTake(reply.encodedSize, Int32(domain.rawValue))
    }

    /// `DEFAULT_BUFFER_SIZE`.
    private static var smallReply: Int { 16 }

    private mutating func payload(
        answering message: StoreMessage,
        _ slot: Int,
        _ firstEvent: inout Int32?
    ) throws(StoreErrorCode) -> [UInt8] {
        let operation = message.operation
        guard isKnown(operation) else { throw .notImplemented }
        let caller = try caller(slot, operation, message.transaction)
        let payload = message.payload
        switch operation {
        case .directory:
            let place = try node(try solePath(payload, caller), .read, caller)
            return try listing(place, caller)
        case .directoryPart:
            return try part(payload, caller)
        case .read:
            let place = try node(try solePath(payload, caller), .read, caller)
            return value(place, caller).bytes
        case .getPermissions:
            let place = try node(try solePath(payload, caller), .read, caller)
            return text(permissionList(place, caller))
        case .write:
            try writeNode(payload, caller)
        case .makeDirectory:
            try makeDirectory(try solePath(payload, caller), caller)
        case .remove:
            try remove(try solePath(payload, caller), caller)
        case .setPermissions:
            try setPermissions(payload, caller)
        case .watch:
            firstEvent = try watch(payload, caller)
        case .unwatch:
            try unwatch(payload, caller)
        default:
            return try administer(operation, payload, caller)
        }
        return StoreServer.done
    }

    /// The operations that are not about nodes and watches.
    private mutating func administer(
        _ operation: StoreOperation,
        _ payload: [UInt8],
        _ caller: Caller
    ) throws(StoreErrorCode) -> [UInt8] {
        switch operation {
        case .transactionStart:
            let transaction = try beginTransaction(caller)
            return terminated(String(transaction.rawValue))
        case .transactionEnd:
            try endTransaction(payload, caller)
        case .resetWatches:
            removeWatches(of: caller.slot)
            removeTransactions(of: caller.slot)
        case .introduce:
            let numbers = try numbers(payload, atLeast: 3)
            try introduce(numbers[0], frame: numbers[1], port: numbers[2])
        case .setTarget:
            let numbers = try numbers(payload, atLeast: 2)
            try setTarget(numbers[0], numbers[1])
        case .release:
            try release(try soleNumber(payload))
        case .resume:
            try resume(try soleNumber(payload))
        case .getDomainPath:
            return terminated("/local/domain/\(try soleNumber(payload))")
        case .isDomainIntroduced:
            return terminated(isIntroduced(try soleNumber(payload)) ? "T" : "F")
        case .getFeature:
            return terminated(String(try getFeature(payload, caller)))
        case .setFeature:
            try setFeature(payload)
        case .getQuota:
            return terminated(try getQuota(payload))
        case .setQuota:
            try setQuota(payload)
        default:
            return try control(payload)
        }
        return StoreServer.done
    }

    private static let done: [UInt8] = [0x4F, 0x4B, 0]

    private func terminated(_ text: String) -> [UInt8] {
        [UInt8](text.utf8) + [0]
    }

    // MARK: Payloads

    private mutating func solePath(_ payload: [UInt8], _ caller: Caller) throws(StoreErrorCode) -> String {
        guard let range = PayloadText.soleString(in: payload) else { throw .invalid }
        return try path(payload[range], caller)
    }

    private mutating func path(_ bytes: ArraySlice<UInt8>, _ caller: Caller) throws(StoreErrorCode) -> String {
        guard PayloadText.isPath(bytes), bytes.first != UInt8(ascii: "@") else { throw .invalid }
        var text = String(decoding: bytes, as: UTF8.self)
        if bytes.first != StoreTree.slash { text = home(of: caller) + text }
        guard isShortEnough(text) else { throw .invalid }
        return text
    }

    private func soleNumber(_ payload: [UInt8]) throws(StoreErrorCode) -> UInt32 {
        guard let range = PayloadText.soleString(in: payload) else { throw .invalid }
        return PayloadText.decimalPrefix(payload[range])
    }

    private func numbers(_ payload: [UInt8], atLeast count: Int) throws(StoreErrorCode) -> [UInt32] {
        let strings = PayloadText.strings(in: payload)
        guard strings.count >= count else { throw .invalid }
        return strings.map { PayloadText.decimalPrefix(payload[$0]) }
    }

    private mutating func part(_ payload: [UInt8], _ caller: Caller) throws(StoreErrorCode) -> [UInt8] {
        let strings = PayloadText.strings(in: payload)
        guard strings.count == 2 else { throw .invalid }
        let place = try node(try path(payload[strings[0]], caller), .read, caller)
        let part = listingPart(place, offset: PayloadText.decimalPrefix(payload[strings[1]]), caller)
        return terminated(String(part.generation)) + part.bytes + (part.isLast ? [0] : [])
    }

    private mutating func writeNode(_ payload: [UInt8], _ caller: Caller) throws(StoreErrorCode) {
        guard let nul = payload.firstIndex(of: 0) else { throw .invalid }
        try write(try path(payload[..<nul], caller), StoreValue(payload.span.extracting((nul + 1)...)), caller)
    }

    private mutating func setPermissions(_ payload: [UInt8], _ caller: Caller) throws(StoreErrorCode) {
        let strings = PayloadText.strings(in: payload)
        guard strings.count >= 2 else { throw .invalid }
        guard caller.isPrivileged || strings.count - 1 <= quotas(of: caller.domain).permissionsPerNode else {
            throw .noSpace
        }
        var list: [PermissionEntry] = []
        for range in strings.dropFirst() {
            guard let letter = payload[range].first, let access = StoreAccess(rawValue: letter),
                let number = PayloadText.integer(payload[range].dropFirst())
            else { throw .invalid }
            list.append(PermissionEntry(domain: Int32(truncatingIfNeeded: number), access: access))
        }
        list = try admit(list, caller)
        let bytes = payload[strings[0]]
        if bytes.first == UInt8(ascii: "@") {
            try setSpecialPermissions(String(decoding: bytes, as: UTF8.self), list, caller)
        } else {
            try setPermissions(try path(bytes, caller), list, caller)
        }
    }

    private mutating func watch(_ payload: [UInt8], _ caller: Caller) throws(StoreErrorCode) -> Int32 {
        let strings = PayloadText.strings(in: payload)
        guard strings.count == 2 || (rules.allowsWatchDepth && strings.count == 3) else { throw .invalid }
        let depth = strings.count == 3 ? PayloadText.decimalPrefix(payload[strings[2]]) : nil
        let bytes = payload[strings[0]]
        let token = StoreToken(payload[strings[1]])
        if bytes.first == UInt8(ascii: "@") {
            guard bytes.count <= StoreServer.maximumSpecialName else { throw .invalid }
            return try watch(.special(StoreToken(bytes)), token: token, depth: depth, caller)
        }
        let path = try path(bytes, caller)
        return try watch(.path(path, prefix: path.utf8.count - bytes.count), token: token, depth: depth, caller)
    }

    /// The path is not checked here: what breaks the rules was never watched.
    private mutating func unwatch(_ payload: [UInt8], _ caller: Caller) throws(StoreErrorCode) {
        let strings = PayloadText.strings(in: payload)
        guard strings.count == 2 else { throw .invalid }
        let bytes = payload[strings[0]]
        let token = StoreToken(payload[strings[1]])
        if bytes.first == UInt8(ascii: "@") {
            return try unwatch(.special(StoreToken(bytes)), token: token, caller)
        }
        guard let path = try? path(bytes, caller) else { throw .noEntry }
        try unwatch(.path(path, prefix: 0), token: token, caller)
    }

    private mutating func endTransaction(_ payload: [UInt8], _ caller: Caller) throws(StoreErrorCode) {
        switch payload {
        case [UInt8(ascii: "T"), 0]: try endTransaction(commit: true, caller)
        case [UInt8(ascii: "F"), 0]: try endTransaction(commit: false, caller)
        default: throw .invalid
        }
    }

    /// A permission list as GET_PERMS sends it.
    private func text(_ number: Int32) -> [UInt8] {
        permissions[number].flatMap { entry in
            [entry.access.rawValue] + [UInt8](String(entry.domain).utf8) + [0]
        }
    }

    /// The few commands of `xenstore-control` that mean something here.
    private func control(_ payload: [UInt8]) throws(StoreErrorCode) -> [UInt8] {
        let words = PayloadText.strings(in: payload).map { String(decoding: payload[$0], as: UTF8.self) }
        switch (words.first, words.count) {
        case ("check", 1), ("log", 2), ("print", 2): return StoreServer.done
        case ("help", 1): return terminated("check\t\nlog\ton|off\nprint\t<string>\nhelp\t\n")
        default: throw .invalid
        }
    }

    /// Whether the store knows what to do with an operation; the two that only a store sends are not known (D5).
    private func isKnown(_ operation: StoreOperation) -> Bool {
        switch operation {
        case .watchEvent, .error: false
        case .getFeature, .setFeature: rules.hasFeatureOperations
        case .getQuota, .setQuota: rules.hasQuotaOperations
        default: operation.rawValue != 20 && operation.rawValue <= StoreOperation.directoryPart.rawValue
        }
    }
}
