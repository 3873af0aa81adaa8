// SPDX-License-Identifier: MIT

public import XenInterface

/// One message of the store's wire, in either direction: `struct xsd_sockmsg` and its payload (D1).
///
/// ```text
///   0         4         8         12        16
///   ┌─────────┬─────────┬─────────┬─────────┬────────────── ─ ─
///   │ type    │ req_id  │ tx_id   │ len     │ len bytes
///   └─────────┴─────────┴─────────┴─────────┴────────────── ─ ─
/// ```
@frozen
public struct StoreMessage: Hashable, Sendable {
    /// `type`.
    public var operation: StoreOperation
    /// `req_id`: chosen by the client, echoed in the reply; 0 in a watch event.
    public var request: UInt32
    /// `tx_id`.
    public var transaction: StoreTransactionID
    /// What follows the header.
    public var payload: [UInt8]

    /// Makes a message.
    @inlinable
    public init(
        _ operation: StoreOperation,
        request: UInt32 = 0,
        transaction: StoreTransactionID = .none,
        payload: [UInt8] = []
    ) {
        self.operation = operation
        self.request = request
        self.transaction = transaction
        self.payload = payload
    }

    /// The length of a header in bytes.
    @inlinable
    public static var headerSize: Int { 16 }

    /// The longest payload in bytes: `XENSTORE_PAYLOAD_MAX` (D1).
    @inlinable
    public static var maximumPayload: Int { 4096 }

    /// The length on the wire in bytes, header included.
    @inlinable
    public var encodedSize: Int { StoreMessage.headerSize + payload.count }

    /// Whether this is a watch event, which answers no request.
    public var isEvent: Bool { operation == .watchEvent }

    /// Appends the bytes of the wire to `output`.
    public func encode(into output: inout [UInt8]) {
        StoreMessage.appendHeader(operation, request, transaction, payload.count, to: &output)
        output.append(contentsOf: payload)
    }

    /// The bytes of the wire.
    public var encoded: [UInt8] {
        var output: [UInt8] = []
        output.reserveCapacity(encodedSize)
        encode(into: &output)
        return output
    }

    static func appendHeader(
        _ operation: StoreOperation,
        _ request: UInt32,
        _ transaction: StoreTransactionID,
        _ length: Int,
        to output: inout [UInt8]
    ) {
        output.appendLittleEndian(operation.rawValue)
        output.appendLittleEndian(request)
        output.appendLittleEndian(transaction.rawValue)
        output.appendLittleEndian(UInt32(truncatingIfNeeded: length))
    }
}

extension [UInt8] {
    mutating func appendLittleEndian(_ word: UInt32) {
        unsafe Swift.withUnsafeBytes(of: word.littleEndian) { unsafe append(contentsOf: $0) }
    }

    func littleEndianWord(at offset: Int) -> UInt32 {
        UInt32(self[offset]) | UInt32(self[offset + 1]) << 8 | UInt32(self[offset + 2]) << 16
            | UInt32(self[offset + 3]) << 24
    }
}
