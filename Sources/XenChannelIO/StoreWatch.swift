// SPDX-License-Identifier: MIT

public import XenInterface

/// The events of one watch, as they come; for one task.
public final class StoreWatch: AsyncSequence, Sendable {
    /// An event; its token is the client's own affair.
    public typealias Element = StoreWatchEvent
    /// Nothing is thrown: the sequence ends when the connection is lost.
    public typealias Failure = Never

    private let queue: StoreWatchQueue
    private let node: StorePath
    private let client: StoreClient

    init(_ queue: StoreWatchQueue, of node: StorePath, on client: StoreClient) {
        self.queue = queue
        self.node = node
        self.client = client
    }

    deinit {
        client.unwatch(node, token: queue.token)
    }

    /// Begins to take events; the watch is dropped when this object goes.
    public func makeAsyncIterator() -> Iterator {
        Iterator(watch: self)
    }

    /// Takes the events.
    public struct Iterator: AsyncIteratorProtocol {
        fileprivate let watch: StoreWatch

        /// The next event; nil when the connection is lost or the task is cancelled. Traps if another task waits for it already.
        public mutating func next() async -> StoreWatchEvent? {
            await watch.queue.next()
        }
    }
}

/// The events of a watch that were not taken yet, and the task that waits for one.
final class StoreWatchQueue: Sendable {
    let token: String
    private let state = Lock(State())

    private struct State {
        var events: [StoreWatchEvent] = []
        var waiting: CheckedContinuation<StoreWatchEvent?, Never>?
        var isEnded = false
    }

    init(token: String) {
        self.token = token
    }

    func put(_ event: StoreWatchEvent) {
        let waiting = state.withLock { state -> CheckedContinuation<StoreWatchEvent?, Never>? in
            if let waiting = state.waiting.take() { return waiting }
            // An event says "look again": one that waits says so for all equal ones (D31).
            if !state.events.contains(event) { state.events.append(event) }
            return nil
        }
        waiting?.resume(returning: event)
    }

    func end() {
        let waiting = state.withLock { state in
            state.isEnded = true
            return state.waiting.take()
        }
        waiting?.resume(returning: nil)
    }

    func next() async -> StoreWatchEvent? {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let (event, isOver) = state.withLock { state -> (StoreWatchEvent?, Bool) in
                    if !state.events.isEmpty { return (state.events.removeFirst(), true) }
                    if state.isEnded || Task.isCancelled { return (nil, true) }
                    precondition(state.waiting == nil, "one task takes the events of a watch")
                    state.waiting = continuation
                    return (nil, false)
                }
                if isOver { continuation.resume(returning: event) }
            }
        } onCancel: {
            state.withLock { $0.waiting.take() }?.resume(returning: nil)
        }
    }
}
