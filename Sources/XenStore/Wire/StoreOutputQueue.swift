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
    /// The numbers of mergeable messages, found by their hashes; those that were sent are there still.
    private var numbers = HashedNumbers(minimumCapacity: 0)
    /// All messages ever taken from the front of `messages`.
    private var forgotten = 0
    /// All bytes ever taken from the front of `bytes`: makes positions comparable after they were.
    private var discarded = 0

    /// A message in `bytes`, by positions that count from the queue's beginning.
    private struct Waiting: Hashable, Sendable {
        let payload: Int
        let end: Int
        let isReply: Bool
        /// Nil for what is not merged.
        let hash: UInt64?
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
        if let event = StoreEvent(message) { return append(event) }
        discardSent()
        guard byteCount + message.encodedSize <= limit else { return .overflow }
        message.encode(into: &bytes)
        note(message.payload.count, isReply: !message.isEvent, hash: nil)
        return .queued
    }

    /// Puts an event behind the others, or merges it.
    public mutating func append(_ event: StoreEvent) -> Appended {
        discardSent()
        return add(event)
    }

    /// Puts each of the events behind the others, or merges it: says whether there is anything new to send.
    ///
    /// After `.overflow` the first that did not fit is not in the queue, nor are those after it.
    public mutating func append(contentsOf events: Span<StoreEvent>) -> Appended {
        discardSent()
        var appended = Appended.merged
        for index in events.indices {
            switch add(events[index]) {
            case .queued: appended = .queued
            case .merged: continue
            case .overflow: return .overflow
            }
        }
        return appended
    }

    private mutating func add(_ event: borrowing StoreEvent) -> Appended {
        if event.isMergeable, holds(event) { return .merged }
        guard byteCount + event.encodedSize <= limit else { return .overflow }
        event.encode(into: &bytes)
        note(event.payloadSize, isReply: false, hash: event.isMergeable ? event.hash : nil)
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

    /// Notes the message whose bytes were put at the end.
    private mutating func note(_ size: Int, isReply: Bool, hash: UInt64?) {
        let end = discarded + bytes.count
        messages.append(Waiting(payload: end - size, end: end, isReply: isReply, hash: hash))
        if isReply { unsentReplyCount += 1 }
        guard let hash else { return }
        if numbers.isFull {
            // Those of messages that were sent go.
            numbers = HashedNumbers(minimumCapacity: 8 + 2 * (messages.count - firstMessage))
            for index in firstMessage..<(messages.count - 1) {
                if let hash = messages[index].hash { numbers.insert(forgotten + index, hash) }
            }
        }
        numbers.insert(forgotten + messages.count - 1, hash)
    }

    /// Whether an equal event is not yet sent in full.
    private func holds(_ event: borrowing StoreEvent) -> Bool {
        guard firstMessage < messages.count else { return false }
        var slot = numbers.firstSlot(event.hash)
        while let number = numbers[slot] {
            let index = number - forgotten
            // A message that is being sent is whole in `bytes` still.
            if index >= firstMessage, messages[index].hash == event.hash,
                event.isPayload(bytes.span.extracting(payload(of: messages[index])))
            {
                return true
            }
            slot += 1
        }
        return false
    }

    private func payload(of message: Waiting) -> Range<Int> {
        (message.payload - discarded)..<(message.end - discarded)
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
    }
}

/// Numbers that are found by a hash: a table with open addressing, from which nothing is taken.
private struct HashedNumbers: Hashable, Sendable {
    /// A power of two of them; -1 where there is no number.
    private var slots: [Int]
    private var count = 0

    /// Makes room for as many numbers, at least.
    init(minimumCapacity: Int) {
        var size = 1
        while size < 2 * minimumCapacity { size *= 2 }
        slots = [Int](repeating: -1, count: size)
    }

    /// Whether there is to be more room before another number is inserted.
    var isFull: Bool { 2 * (count + 1) > slots.count }

    /// Where to begin looking for the numbers of a hash: they are there and in the slots that follow, up to one without a number.
    func firstSlot(_ hash: UInt64) -> Int {
        Int(truncatingIfNeeded: hash) & (slots.count - 1)
    }

    /// The number in a slot, counted on past the last one.
    subscript(slot: Int) -> Int? {
        let number = slots[slot & (slots.count - 1)]
        return number < 0 ? nil : number
    }

    mutating func insert(_ number: Int, _ hash: UInt64) {
        var slot = firstSlot(hash)
        while self[slot] != nil { slot += 1 }
        slots[slot & (slots.count - 1)] = number
        count += 1
    }
}
