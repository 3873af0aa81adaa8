// SPDX-License-Identifier: MIT

/// The wait of one task for one direction of a stream; whoever cancels the task cuts it short from any thread.
@usableFromInline
final class ChannelWaiter: Sendable {
    @safe private struct State {
        var waiting: UnsafeContinuation<Bool, Never>?
        /// Counts the waits, so that a cancellation that comes late cuts no other short.
        var ticket: UInt64 = 0
    }

    private let state = Lock(State())

    /// Returns what `resume(returning:)` is told, or false when the task is cancelled.
    nonisolated(nonsending) func wait() async -> Bool {
        let ticket = state.withLock { state in
            precondition(unsafe state.waiting == nil, "one task at a time waits for one direction of a stream")
            state.ticket &+= 1
            return state.ticket
        }
        return await withTaskCancellationHandler {
            await unsafe withUnsafeContinuation { continuation in
                let isOver = state.withLock { state in
                    // Set before the handler below is called: one of the two sees the other.
                    guard !Task.isCancelled else { return true }
                    unsafe state.waiting = continuation
                    return false
                }
                if isOver { unsafe continuation.resume(returning: false) }
            }
        } onCancel: {
            let waiting = unsafe state.withLock { state in
                unsafe state.ticket == ticket ? state.waiting.take() : nil
            }
            unsafe waiting?.resume(returning: false)
        }
    }

    /// Ends the wait, if there is one.
    func resume(returning result: Bool) {
        let waiting = unsafe state.withLock { unsafe $0.waiting.take() }
        unsafe waiting?.resume(returning: result)
    }
}
