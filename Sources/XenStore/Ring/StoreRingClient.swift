// SPDX-License-Identifier: MIT

public import XenRing

/// A guest's side of its own xenstore page, `struct xenstore_domain_interface`: requests out, replies and events in (D45 to D48).
///
/// The counterpart of `StoreRingConversation`: nothing here waits. A guest sends as much of a message as fits, notifies the
/// store, and takes what came, until the whole message has gone and its reply is there:
///
/// ```swift
/// sent += try client.send(bytes.span.extracting(sent...))
/// if client.takeNotification() { notify(port) }
/// while case .message(let message) = client.receive() { … }
/// ```
public struct StoreRingClient<Memory: RingMemory>: ~Copyable {
    /// What `receive()` finds.
    public enum Received: Hashable, Sendable {
        /// A whole reply or event, now taken.
        case message(StoreMessage)
        /// Nothing to do until the next event from the store.
        case idle
        /// The page is of no use any more, until the domain is introduced again.
        case broken(StoreRingError)
    }

    private var requests: RingProducer<Memory>
    private var responses: RingConsumer<Memory>
    private let memory: Memory
    private var decoder = StoreMessageDecoder()
    private var needsNotification = false
    private var failure: StoreRingError?

    /// Begins with a page whose indices the store has set to zero, as it does when the domain is introduced (D23).
    public init(introduced memory: Memory) {
        self.memory = memory
        requests = RingProducer(fresh: memory, layout: .xenstoreRequest)
        responses = RingConsumer(fresh: memory, layout: .xenstoreResponse)
    }

    /// Why the page is of no use: what this side found, or what the store says in the word `error` (D46); nil as long as it is.
    public var error: StoreRingError? {
        if let failure { return failure }
        let word = memory.loadAcquire(at: StoreRingWord.error)
        return word == 0 ? nil : StoreRingError(rawValue: word) ?? .communication
    }

    /// Moves as much of a message into the request ring as fits, and returns how much that was.
    public mutating func send(_ bytes: Span<UInt8>) -> Int {
        guard failure == nil else { return 0 }
        do throws(RingViolation) {
            let count = try requests.write(bytes)
            if count > 0 { needsNotification = true }
            return count
        } catch {
            failure = .badIndex
            return 0
        }
    }

    /// Takes the next reply or event, if it is whole.
    public mutating func receive() -> Received {
        while true {
            if let failure { return .broken(failure) }
            switch decoder.next() {
            case .message(let message):
                return .message(message)
            case .protocolError:
                failure = .protocolViolated
            case .needMore:
                guard readSome() else {
                    // What the store had sent before it gave up was taken first.
                    return error.map(Received.broken) ?? .idle
                }
            }
        }
    }

    /// Whether `receive()` is worth calling: one look at the page, for a guest that asks often.
    public func hasInput() -> Bool {
        decoder.isMidMessage
            || memory.loadAcquire(at: RingLayout.xenstoreResponse.producerIndex) != responses.index.rawValue
    }

    /// Whether the store has to be notified, since this was last asked: bytes were given or taken (D48).
    public mutating func takeNotification() -> Bool {
        defer { needsNotification = false }
        return needsNotification
    }

    /// Reads what is there, up to a part of the ring; false if there was nothing, or the store's index is out of range.
    private mutating func readSome() -> Bool {
        var chunk = InlineArray<256, UInt8>(repeating: 0)
        var span = chunk.mutableSpan
        do throws(RingViolation) {
            let count = try responses.read(into: &span)
            guard count > 0 else { return false }
            decoder.append(span.span.extracting(first: count))
            needsNotification = true
            return true
        } catch {
            failure = .badIndex
            return false
        }
    }
}
