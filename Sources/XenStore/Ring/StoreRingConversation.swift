// SPDX-License-Identifier: MIT

public import XenRing

/// The store's side of a guest's xenstore page: `struct xenstore_domain_interface` (D45 to D48).
///
/// Moves bytes between the page's two rings and messages: nothing here waits, and nothing runs unless it is called. After an
/// event from the guest, or an output for it, a world does
///
/// ```swift
/// while case .message(let message) = conversation.receive() {
///     store.handle(message, from: connection, into: &outputs)   // and conversation.send(…) what is for this guest
/// }
/// conversation.flush()
/// if conversation.takeNotification() { notify(port) }
/// ```
///
/// Messages may be longer than the rings: both sides stream through 1024 bytes.
public struct StoreRingConversation<Memory: RingMemory>: ~Copyable {
    /// What `receive()` finds.
    public enum Received: Hashable, Sendable {
        /// A whole request, now taken.
        case message(StoreMessage)
        /// Nothing to do until the next event from the guest.
        case idle
        /// The guest broke the rules just now: tell the store with `StoreServer.ignore(_:)`. Said once (D47).
        case broken(StoreRingError)
    }

    private var requests: RingConsumer<Memory>
    private var responses: RingProducer<Memory>
    private let memory: Memory
    private var decoder = StoreMessageDecoder()
    private var queue: StoreOutputQueue
    private let outstanding: Int
    private let eventLimit: Int
    private var needsNotification: Bool
    /// Why the guest is no longer listened to; nil as long as it is.
    public private(set) var error: StoreRingError?
    private var hasReported = false

    /// Begins with a guest that is introduced: sets the four indices to zero, and tells a guest that waits for the store
    /// that it is there (D23, D46).
    ///
    /// `features` is what the page says of the store; 4.17 writes nothing there. `outstandingRequests` is how many replies may wait before requests are left in the ring; `queueLimit` how many
    /// bytes of events may wait before further ones are lost.
    public init(
        introducing memory: Memory,
        features: UInt32 = 0,
        outstandingRequests: Int = StoreQuotas().outstandingRequests,
        queueLimit: Int = 1 << 20
    ) {
        for layout in [RingLayout.xenstoreRequest, .xenstoreResponse] {
            memory.storeRelease(0, at: layout.consumerIndex)
            memory.storeRelease(0, at: layout.producerIndex)
        }
        let waits = memory.loadAcquire(at: StoreRingWord.connection) == StoreRingWord.reconnect
        if waits { memory.storeRelease(StoreRingWord.connected, at: StoreRingWord.connection) }
        memory.storeRelease(features, at: StoreRingWord.features)
        self.memory = memory
        requests = RingConsumer(fresh: memory, layout: .xenstoreRequest)
        responses = RingProducer(fresh: memory, layout: .xenstoreResponse)
        // Events never take the room of replies, of which there are no more than `outstandingRequests`.
        let largest = StoreMessage.headerSize + StoreMessage.maximumPayload
        queue = StoreOutputQueue(limit: queueLimit + (outstandingRequests + 1) * largest)
        outstanding = outstandingRequests
        eventLimit = queueLimit
        needsNotification = waits
    }

    /// Takes the guest's next request, if it is whole and there is room for its reply.
    ///
    /// While too many replies wait the requests stay in the ring, and are taken once the guest has read (D41).
    public mutating func receive() -> Received {
        guard error == nil else { return report() }
        while true {
            guard queue.unsentReplyCount < outstanding else { return .idle }
            switch decoder.next() {
            case .message(let message):
                return .message(message)
            case .protocolError:
                return stop(.protocolViolated)
            case .needMore:
                guard let count = readSome() else { return stop(.badIndex) }
                if count == 0 { return .idle }
            }
        }
    }

    /// Queues a reply or an event for the guest; an equal event that waits absorbs it (D31).
    ///
    /// An event beyond the bound is lost, as it is in xenstored when the guest's memory quota is used up.
    public mutating func send(_ message: StoreMessage) {
        guard error == nil else { return }
        if message.isEvent, queue.byteCount + message.encodedSize > eventLimit { return }
        _ = queue.append(message)
    }

    /// Queues events for the guest, as `send(_:)` does with their messages.
    public mutating func send(contentsOf events: Span<StoreEvent>) {
        guard error == nil else { return }
        for index in events.indices where queue.byteCount + events[index].encodedSize <= eventLimit {
            _ = queue.append(events[index])
        }
    }

    /// Moves as much of the queue into the response ring as fits.
    ///
    /// If the guest broke the ring, `receive()` says so next.
    public mutating func flush() {
        guard error == nil else { return }
        while !queue.isEmpty {
            guard let count = writeSome() else {
                fail(.badIndex)
                return
            }
            if count == 0 { return }
        }
    }

    /// Whether the guest has to be notified, since this was last asked: bytes were taken or given (D48).
    public mutating func takeNotification() -> Bool {
        defer { needsNotification = false }
        return needsNotification
    }

    /// Whether anything waits for room in the response ring.
    public var hasUnsentOutput: Bool { !queue.isEmpty }

    /// Reads what is there, up to a part of the ring; nil if the guest's index is out of range.
    private mutating func readSome() -> Int? {
        var chunk = InlineArray<256, UInt8>(repeating: 0)
        var span = chunk.mutableSpan
        guard let count = try? requests.read(into: &span) else { return nil }
        if count > 0 {
            decoder.append(span.span.extracting(first: count))
            needsNotification = true
        }
        return count
    }

    private mutating func writeSome() -> Int? {
        let count = queue.withUnsentBytes { try? responses.write($0) }
        if let count, count > 0 {
            queue.advance(by: count)
            needsNotification = true
        }
        return count
    }

    private mutating func stop(_ error: StoreRingError) -> Received {
        fail(error)
        return report()
    }

    private mutating func fail(_ error: StoreRingError) {
        self.error = error
        memory.storeRelease(error.rawValue, at: StoreRingWord.error)
        decoder.reset()
        queue.reset()
    }

    private mutating func report() -> Received {
        guard let error, !hasReported else { return .idle }
        hasReported = true
        return .broken(error)
    }
}

/// Why the two sides of a guest's page no longer talk: the word `error` of the page (D46, D47).
@frozen
public enum StoreRingError: UInt32, Hashable, Sendable {
    /// `XENSTORE_ERROR_COMM`: the store could not go on for a reason of its own.
    case communication = 1
    /// `XENSTORE_ERROR_RINGIDX`: an index out of range.
    case badIndex = 2
    /// `XENSTORE_ERROR_PROTO`: a payload beyond 4096 bytes.
    case protocolViolated = 3
}

/// The words behind the indices of the xenstore page: offsets and values (D45, D46).
public enum StoreRingWord {
    /// Offset of `server_features`.
    public static let features = 2064
    /// Offset of `connection`.
    public static let connection = 2068
    /// Offset of `error`.
    public static let error = 2072
    /// Offset of `evtchn_port`.
    public static let eventChannel = 2076
    /// `XENSTORE_CONNECTED`, in `connection`.
    public static let connected: UInt32 = 0
    /// `XENSTORE_RECONNECT`, in `connection`: the guest waits for the store.
    public static let reconnect: UInt32 = 1
}
