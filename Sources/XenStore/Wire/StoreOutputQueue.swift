// SPDX-License-Identifier: MIT

/// What a connection has still to send: replies and watch events as bytes of the wire, in order, with a bound.
///
/// An event that is equal to one not yet sent in full is merged with it, save those of the special names (D31). Here
/// belongs what depends on how fast a client reads; the store itself knows nothing of it.
///
/// ```swift
/// guard queue.append(message) != .overflow else { … the client reads too slowly: close … }
/// let written = queue.withUnsentBytes { socket.write($0) }
/// queue.advance(by: written)
/// ```
public struct StoreOutputQueue: Hashable, Sendable {
    /// What became of a message.
    public enum Appended: Hashable, Sendable {
        /// It is in the queue.
        case queued
        /// An equal event is in the queue already.
        case merged
        /// The queue is full; the message is not in it, and the connection cannot go on.
        case overflow
    }

    /// The bytes that may wait.
    public let limit: Int
    /// Replies that are not sent in full: what a guest's quota of outstanding requests counts.
    public private(set) var unsentReplyCount = 0
    private var bytes: [UInt8] = []
    private var position = 0
    private var messages: [Waiting] = []
    private var firstMessage = 0
    /// The last mergeable message of each hash, by its number from the queue's beginning; those that were sent are there still.
    private var lastWithHash: [UInt64: Int] = [:]
    /// All messages ever taken from the front of `messages`.
    private var forgotten = 0
    /// All bytes ever taken from the front of `bytes`: makes positions comparable after they were.
    private var discarded = 0

    /// A message in `bytes`, by positions that count from the queue's beginning.
    private struct Waiting: Hashable, Sendable {
        let payload: Int
        let end: Int
        let isReply: Bool
        let isMergeable: Bool
        let hash: UInt64
    }

    /// Makes an empty queue for at most `limit` bytes, which is at least the size of one message.
    public init(limit: Int = 1 << 20) {
        precondition(limit >= StoreMessage.headerSize + StoreMessage.maximumPayload, "a message fits in the queue")
        self.limit = limit
    }

    /// Bytes that wait.
    public var byteCount: Int { bytes.count - position }

    /// Whether everything is sent.
    public var isEmpty: Bool { byteCount == 0 }

    /// Puts a message behind the others, or merges it.
    public mutating func append(_ message: StoreMessage) -> Appended {
        discardSent()
        let start = bytes.count
        message.encode(into: &bytes)
        let isMergeable = message.isEvent && message.payload.first != UInt8(ascii: "@")
        return keep(from: start, isReply: !message.isEvent, isMergeable: isMergeable)
    }

    /// Puts an event behind the others, or merges it.
    public mutating func append(_ event: StoreEvent) -> Appended {
        discardSent()
        let start = bytes.count
        event.encode(into: &bytes)
        return keep(from: start, isReply: false, isMergeable: event.isMergeable)
    }

    /// Notes the message that was put at the end of `bytes`, or takes it away again.
    private mutating func keep(from start: Int, isReply: Bool, isMergeable: Bool) -> Appended {
        let payload = (start + StoreMessage.headerSize)..<bytes.count
        let hash = isMergeable ? PathHash.of(bytes.span.extracting(payload), count: payload.count) : 0
        let isHeld = isMergeable && holds(payload, hash)
        guard !isHeld, byteCount <= limit else {
            bytes.removeLast(bytes.count - start)
            return isHeld ? .merged : .overflow
        }
        let waiting = Waiting(
            payload: discarded + payload.lowerBound,
            end: discarded + payload.upperBound,
            isReply: isReply,
            isMergeable: isMergeable,
            hash: hash
        )
        if isMergeable { lastWithHash[hash] = forgotten + messages.count }
        messages.append(waiting)
        if isReply { unsentReplyCount += 1 }
        return .queued
    }

    /// Shows the bytes that wait, first to last.
    public func withUnsentBytes<Value, Failure: Error>(
        _ body: (Span<UInt8>) throws(Failure) -> Value
    ) throws(Failure) -> Value {
        try body(bytes.span.extracting(position...))
    }

    /// Takes bytes that were sent.
    ///
    /// Traps if `count` is negative or more than wait.
    public mutating func advance(by count: Int) {
        precondition(count >= 0 && count <= byteCount, "only bytes that wait can be sent")
        position += count
        while firstMessage < messages.count, messages[firstMessage].end <= discarded + position {
            if messages[firstMessage].isReply { unsentReplyCount -= 1 }
            firstMessage += 1
        }
        if isEmpty { discardSent() }
    }

    /// Forgets everything that waits, as for a connection that begins anew.
    public mutating func reset() {
        self = StoreOutputQueue(limit: limit)
    }

    private func holds(_ payload: Range<Int>, _ hash: UInt64) -> Bool {
        guard let last = lastWithHash[hash], last - forgotten >= firstMessage else { return false }
        if isEqual(messages[last - forgotten], payload) { return true }
        // Another payload of the same hash came later: rare enough to look at all.
        return messages[firstMessage...].contains { $0.hash == hash && $0.isMergeable && isEqual($0, payload) }
    }

    private func isEqual(_ waiting: Waiting, _ payload: Range<Int>) -> Bool {
        // The head of a message that is being sent may be gone from the bytes.
        let start = waiting.payload - discarded
        guard start >= 0, waiting.end - waiting.payload == payload.count else { return false }
        let held = bytes.span.extracting(start..<(waiting.end - discarded))
        return PathHash.isEqual(held, bytes.span.extracting(payload), count: payload.count)
    }

    /// Drops sent messages from the front once they are the larger part, so that the work stays linear.
    private mutating func discardSent() {
        guard position > 0, position >= byteCount else { return }
        // Keep the message that is being sent whole, to compare with.
        let keep = firstMessage < messages.count ? messages[firstMessage].payload - StoreMessage.headerSize : nil
        let count = min(position, keep.map { $0 - discarded } ?? bytes.count)
        guard count > 0 else { return }
        if count == bytes.count { bytes.removeAll(keepingCapacity: true) } else { bytes.removeFirst(count) }
        position -= count
        discarded += count
        if firstMessage == messages.count {
            messages.removeAll(keepingCapacity: true)
        } else {
            messages.removeFirst(firstMessage)
        }
        forgotten += firstMessage
        firstMessage = 0
        if lastWithHash.count > 2 * messages.count + 64 {
            lastWithHash = lastWithHash.filter { $0.value >= forgotten }
        }
    }
}
