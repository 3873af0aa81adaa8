// SPDX-License-Identifier: MIT

public import XenInterface

/// A watch event on its way to a client: what changed, and the token of the watch that tells of it.
///
/// It becomes bytes in a `StoreOutputQueue` for a client behind a wire, or a `StoreWatchEvent` for one that is called directly.
public struct StoreEvent: Hashable, Sendable {
    private let subject: StoreEventSubject
    private let token: StoreToken

    init(_ subject: StoreEventSubject, _ token: StoreToken) {
        self.subject = subject
        self.token = token
    }

    /// Reads an event off the wire; nil for any other message, and for what no store sends.
    init?(_ message: StoreMessage) {
        guard message.isEvent else { return nil }
        let strings = PayloadText.strings(in: message.payload)
        guard strings.count == 2 else { return nil }
        let name = message.payload[strings[0]]
        token = StoreToken(message.payload[strings[1]])
        if name.first == UInt8(ascii: "@") {
            subject = StoreEventSubject(special: StoreToken(name))
        } else {
            guard let path = String(validating: name, as: UTF8.self) else { return nil }
            subject = StoreEventSubject(path: path, prefix: 0)
        }
    }

    /// The event for a client of the same process; nil if the part of the path that is sent is empty.
    public var watchEvent: StoreWatchEvent? {
        subject.storePath.map { StoreWatchEvent(path: $0, token: token.text) }
    }

    /// Whether there is an event for a client of the same process.
    var hasPath: Bool {
        if let special = subject.special { return special.withBytes(StorePath.isValid) }
        return subject.prefix == 0 || subject.size > 0
    }

    /// The event for a client behind a wire.
    public var message: StoreMessage {
        var payload: [UInt8] = []
        payload.reserveCapacity(payloadSize)
        encodePayload(into: &payload)
        return StoreMessage(.watchEvent, payload: payload)
    }

    /// Whether an equal event that waits absorbs it (D31).
    public var isMergeable: Bool { subject.special == nil }

    /// The length of the message's payload in bytes.
    var payloadSize: Int { subject.size + token.count + 2 }

    /// The length of the message on the wire in bytes, header included.
    var encodedSize: Int { StoreMessage.headerSize + payloadSize }

    /// The hash of the payload.
    var hash: UInt64 { PathHash.joined(subject.hash, token.hash) }

    /// Appends the bytes of the wire to `output`.
    func encode(into output: inout [UInt8]) {
        StoreMessage.appendHeader(.watchEvent, 0, .none, payloadSize, to: &output)
        encodePayload(into: &output)
    }

    private func encodePayload(into output: inout [UInt8]) {
        subject.withSentBytes { output.append($0) }
        output.append(0)
        token.withBytes { output.append($0) }
        output.append(0)
    }

    /// Whether the bytes are the message's payload.
    func isPayload(_ bytes: Span<UInt8>) -> Bool {
        guard bytes.count == payloadSize, bytes[subject.size] == 0, bytes[bytes.count - 1] == 0 else { return false }
        let size = subject.size
        // The tokens first: events that wait often differ in them alone.
        return token.withBytes { bytes.extracting((size + 1)...).isEqual(to: $0, count: $0.count) }
            && subject.withSentBytes { bytes.isEqual(to: $0, count: size) }
    }
}

/// What a watch event tells of, shared by all events of one change: a node, or a special name.
final class StoreEventSubject: Hashable, Sendable {
    /// The node's whole path; empty for a special name.
    private let path: String
    /// A special name as the client spelled it.
    let special: StoreToken?
    /// How many bytes of the path go before the part that is sent (D29).
    let prefix: Int32
    /// How many bytes are sent.
    let size: Int
    /// The hash of the bytes that are sent.
    let hash: UInt64

    /// A node.
    init(path: String, prefix: Int32) {
        self.path = path
        self.prefix = prefix
        special = nil
        (size, self.hash) = path.withBytes { bytes in
            let part = bytes.extracting(min(Int(prefix), bytes.count)...)
            return (part.count, PathHash.of(part, count: part.count))
        }
    }

    /// A special name.
    init(special name: StoreToken) {
        path = ""
        prefix = 0
        special = name
        size = name.count
        hash = name.hash
    }

    /// The path for a client of the same process; nil if the part that is sent is empty.
    var storePath: StorePath? {
        if let special { return StorePath(special.text) }
        if prefix == 0 { return StorePath(unchecked: path) }
        return size == 0 ? nil : StorePath(unchecked: String(decoding: path.utf8.suffix(size), as: UTF8.self))
    }

    /// Shows the bytes that are sent.
    func withSentBytes<Result>(_ body: (Span<UInt8>) -> Result) -> Result {
        if let special { return special.withBytes(body) }
        return path.withBytes { body($0.extracting(($0.count - size)...)) }
    }

    static func == (left: StoreEventSubject, right: StoreEventSubject) -> Bool {
        left === right
            || left.hash == right.hash && left.path == right.path && left.prefix == right.prefix
                && left.special == right.special
    }

    func hash(into hasher: inout Hasher) {
        hasher.combine(hash)
    }
}

/// What a client calls something, a watch or what it watches: any bytes without a NUL, usually text.
final class StoreToken: Hashable, Sendable {
    /// The bytes as text; what is not UTF-8 shows as replacement characters.
    let text: String
    /// The bytes, if they are not those of the text.
    private let bytes: [UInt8]?
    /// The hash of the bytes.
    let hash: UInt64

    init(_ text: String) {
        self.text = text
        bytes = nil
        hash = text.withBytes { PathHash.of($0, count: $0.count) }
    }

    init(_ slice: ArraySlice<UInt8>) {
        let valid = String(validating: slice, as: UTF8.self)
        text = valid ?? String(decoding: slice, as: UTF8.self)
        bytes = valid == nil ? [UInt8](slice) : nil
        hash = PathHash.of(slice.span, count: slice.count)
    }

    /// How many bytes there are.
    var count: Int { bytes?.count ?? text.utf8.count }

    /// Shows the bytes.
    func withBytes<Result>(_ body: (Span<UInt8>) -> Result) -> Result {
        if let bytes { body(bytes.span) } else { text.withBytes(body) }
    }

    static func == (left: StoreToken, right: StoreToken) -> Bool {
        if left === right { return true }
        guard left.hash == right.hash, left.count == right.count else { return false }
        return left.withBytes { left in right.withBytes { left.isEqual(to: $0, count: left.count) } }
    }

    func hash(into hasher: inout Hasher) {
        hasher.combine(hash)
    }
}

extension [UInt8] {
    /// Appends bytes that lie elsewhere.
    mutating func append(_ bytes: Span<UInt8>) {
        unsafe bytes.withUnsafeBufferPointer { unsafe append(contentsOf: $0) }
    }
}
