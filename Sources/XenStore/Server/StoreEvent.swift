// SPDX-License-Identifier: MIT

public import XenInterface

/// A watch event on its way to a client: the path as it is in the store, how much of that is sent, and the token.
///
/// It becomes a `StoreMessage` for a client behind a wire, or a `StoreWatchEvent` for one that is called directly.
public struct StoreEvent: Hashable, Sendable {
    /// The node's whole path, or a special name.
    let path: String
    /// How many bytes of it go before the part that is sent (D29).
    let prefix: Int
    let token: StoreToken
    /// A special name as the client spelled it, which need not be text; empty for a node.
    private let special: [UInt8]

    init(path: String, prefix: Int, token: StoreToken) {
        self.path = path
        self.prefix = prefix
        self.token = token
        special = []
    }

    init(special name: StoreToken, token: StoreToken) {
        path = name.text
        prefix = 0
        self.token = token
        special = name.bytes
    }

    /// The event for a client of the same process; nil if the part of the path that is sent is empty.
    public var watchEvent: StoreWatchEvent? {
        if !special.isEmpty { return StorePath(path).map { StoreWatchEvent(path: $0, token: token.text) } }
        if prefix == 0 { return StoreWatchEvent(path: StorePath(unchecked: path), token: token.text) }
        guard prefix < path.utf8.count else { return nil }
        let part = String(decoding: path.utf8.dropFirst(prefix), as: UTF8.self)
        return StoreWatchEvent(path: StorePath(unchecked: part), token: token.text)
    }

    /// The event for a client behind a wire.
    public var message: StoreMessage {
        var payload: [UInt8] = []
        payload.reserveCapacity(payloadSize)
        encodePayload(into: &payload)
        return StoreMessage(.watchEvent, payload: payload)
    }

    /// The length of the message on the wire in bytes, header included.
    var encodedSize: Int { StoreMessage.headerSize + payloadSize }

    /// The length of the message's payload in bytes.
    var payloadSize: Int { pathSize + token.bytes.count + 2 }

    private var pathSize: Int { special.isEmpty ? max(0, path.utf8.count - prefix) : special.count }

    /// Appends the bytes of the wire to `output`.
    func encode(into output: inout [UInt8]) {
        StoreMessage.appendHeader(.watchEvent, 0, .none, payloadSize, to: &output)
        encodePayload(into: &output)
    }

    private func encodePayload(into output: inout [UInt8]) {
        if special.isEmpty {
            path.withBytes { bytes in
                unsafe bytes.extracting(min(prefix, bytes.count)...).withUnsafeBufferPointer {
                    unsafe output.append(contentsOf: $0)
                }
            }
        } else {
            output.append(contentsOf: special)
        }
        output.append(0)
        output.append(contentsOf: token.bytes)
        output.append(0)
    }

    /// Whether an equal event that waits absorbs it (D31).
    public var isMergeable: Bool { special.isEmpty }
}

/// What a client calls something, a watch or what it watches: any bytes without a NUL, usually text.
struct StoreToken: Hashable, Sendable {
    let bytes: [UInt8]
    /// The bytes as text; what is not UTF-8 shows as replacement characters.
    let text: String

    init(_ text: String) {
        self.text = text
        bytes = [UInt8](text.utf8)
    }

    init(_ bytes: ArraySlice<UInt8>) {
        self.bytes = [UInt8](bytes)
        text = String(decoding: bytes, as: UTF8.self)
    }

    static func == (left: StoreToken, right: StoreToken) -> Bool {
        left.bytes == right.bytes
    }

    func hash(into hasher: inout Hasher) {
        hasher.combine(bytes)
    }
}
