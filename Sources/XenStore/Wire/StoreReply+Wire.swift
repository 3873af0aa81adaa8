// SPDX-License-Identifier: MIT

public import XenInterface

extension StoreReply {
    /// Reads the reply to a request of `operation` off the wire; nil if it is no reply to that, or malformed.
    ///
    /// An error by a name that is not known is `EINVAL`, as libxenstore has it (D3).
    public init?(_ message: StoreMessage, to operation: StoreOperation) {
        if message.operation == .error {
            guard let name = StoreReply.soleText(message.payload) else { return nil }
            self = .failure(StoreErrorCode(rawValue: name) ?? .invalid)
            return
        }
        guard message.operation == operation, let reply = StoreReply.success(message.payload, operation) else {
            return nil
        }
        self = reply
    }

    private static func success(_ payload: [UInt8], _ operation: StoreOperation) -> StoreReply? {
        switch operation {
        case .read: .value(StoreValue(payload))
        case .directory: names(payload).map(StoreReply.children)
        case .directoryPart: part(payload)
        case .getPermissions: permissions(payload).map(StoreReply.permissions)
        case .transactionStart:
            soleText(payload).flatMap { StoreValue($0).decimal(UInt32.self) }
                .map { .transaction(StoreTransactionID(rawValue: $0)) }
        case .isDomainIntroduced: flag(payload).map(StoreReply.flag)
        case .getDomainPath: soleText(payload).flatMap { StorePath($0) }.map(StoreReply.path)
        default: payload == [0x4F, 0x4B, 0] ? .done : nil
        }
    }

    private static func text(_ bytes: some Collection<UInt8>) -> String {
        String(decoding: bytes, as: UTF8.self)
    }

    private static func soleText(_ payload: [UInt8]) -> String? {
        PayloadText.soleString(in: payload).map { text(payload[$0]) }
    }

    /// Strings that each end in NUL, with nothing behind.
    private static func names(_ payload: [UInt8]) -> [String]? {
        guard payload.isEmpty || payload.last == 0 else { return nil }
        return PayloadText.strings(in: payload).map { text(payload[$0]) }
    }

    /// The stamp, names, and in the last part an empty string (D20).
    private static func part(_ payload: [UInt8]) -> StoreReply? {
        guard var names = names(payload), let first = names.first,
            let generation = StoreValue(first).decimal(UInt64.self)
        else { return nil }
        names.removeFirst()
        let isLast = names.last == ""
        if isLast { names.removeLast() }
        return .part(generation: generation, children: names, isLast: isLast)
    }

    private static func permissions(_ payload: [UInt8]) -> StorePermissions? {
        let strings = PayloadText.strings(in: payload)
        guard payload.last == 0, let first = strings.first.flatMap({ StorePermissions.Entry(wire: text(payload[$0])) })
        else { return nil }
        var permissions = StorePermissions(owner: first.domain, others: first.access)
        for range in strings.dropFirst() {
            if let entry = StorePermissions.Entry(wire: text(payload[range])) {
                permissions.entries.append(entry)
            } else if !isForNobody(payload[range]) {
                return nil
            }
        }
        return permissions
    }

    /// Whether an entry is for a number that no domain can have: SET_PERMS takes those, and they mean nothing.
    private static func isForNobody(_ entry: ArraySlice<UInt8>) -> Bool {
        entry.first.flatMap { StoreAccess(rawValue: $0) } != nil && PayloadText.integer(entry.dropFirst()) != nil
    }

    private static func flag(_ payload: [UInt8]) -> Bool? {
        switch soleText(payload) {
        case "T": true
        case "F": false
        default: nil
        }
    }
}
