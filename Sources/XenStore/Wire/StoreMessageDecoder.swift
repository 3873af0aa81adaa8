// SPDX-License-Identifier: MIT

import XenInterface

/// Puts messages together from bytes that arrive in any pieces.
///
/// Total: every sequence of bytes gives messages, a wait for more, or a protocol error. It holds on to no more than
/// what was appended and not yet taken as messages.
///
/// ```swift
/// decoder.append(bytes.span)
/// while case .message(let message) = decoder.next() { … }
/// ```
public struct StoreMessageDecoder: Hashable, Sendable {
    /// What `next()` finds.
    public enum Result: Hashable, Sendable {
        /// A whole message, now taken.
        case message(StoreMessage)
        /// No whole message is there yet.
        case needMore
        /// The next header announces a payload beyond `StoreMessage.maximumPayload`: nothing after it can be made
        /// sense of, and every later call says so again. xenstored closes the connection (D5).
        case protocolError(length: UInt32)
    }

    private var buffer: [UInt8] = []
    private var position = 0

    /// Begins between two messages.
    public init() {}

    /// Adds bytes as they came.
    public mutating func append(_ bytes: Span<UInt8>) {
        discardTaken()
        buffer.append(bytes)
    }

    /// Adds bytes as they came.
    public mutating func append(_ bytes: some Collection<UInt8>) {
        discardTaken()
        buffer.append(contentsOf: bytes)
    }

    /// Takes the next message if it is whole.
    public mutating func next() -> Result {
        guard pendingByteCount >= StoreMessage.headerSize else { return .needMore }
        let length = buffer.littleEndianWord(at: position + 12)
        guard length <= StoreMessage.maximumPayload else { return .protocolError(length: length) }
        let start = position + StoreMessage.headerSize
        let end = start + Int(length)
        guard end <= buffer.count else { return .needMore }
        let message = StoreMessage(
            StoreOperation(buffer.littleEndianWord(at: position)),
            request: buffer.littleEndianWord(at: position + 4),
            transaction: StoreTransactionID(rawValue: buffer.littleEndianWord(at: position + 8)),
            payload: [UInt8](buffer[start..<end])
        )
        position = end
        return .message(message)
    }

    /// Bytes of a message that is not whole, or not yet taken.
    public var pendingByteCount: Int { buffer.count - position }

    /// Whether a message was begun and not finished.
    public var isMidMessage: Bool { pendingByteCount > 0 }

    /// Forgets everything, as a connection that is begun anew.
    public mutating func reset() {
        buffer.removeAll(keepingCapacity: true)
        position = 0
    }

    /// Moves what is left to the front once the taken part is the larger one, so that the work stays linear.
    private mutating func discardTaken() {
        guard position > 0, position >= buffer.count - position else { return }
        if position == buffer.count { buffer.removeAll(keepingCapacity: true) } else { buffer.removeFirst(position) }
        position = 0
    }
}
