// SPDX-License-Identifier: MIT

import Glibc
import Synchronization

/// A wish that a loop ends in order, which any thread can make, and `SIGINT` and `SIGTERM`.
public final class StopRequest: Sendable {
    private let waker: Waker
    private let flag = Atomic(false)

    /// Makes a request to the loop that `waker` wakes.
    public init(to waker: Waker) {
        self.waker = waker
    }

    /// Whether the end was asked for.
    public var isMade: Bool { flag.load(ordering: .acquiring) }

    /// Asks for the end.
    public func make() {
        flag.store(true, ordering: .releasing)
        waker.wake()
    }

    /// Blocks both signals in this thread and those it starts; from here on the first one makes this request, and the
    /// second ends the program at once.
    ///
    /// To be called once, before any other thread is started.
    public func makeAtSignals() {
        var signals = sigset_t()
        unsafe sigemptyset(&signals)
        unsafe sigaddset(&signals, SIGINT)
        unsafe sigaddset(&signals, SIGTERM)
        unsafe pthread_sigmask(SIG_BLOCK, &signals, nil)
        let box = unsafe Unmanaged.passRetained(SignalThread(signals, self))
        var thread = pthread_t()
        let code = unsafe pthread_create(
            &thread,
            nil,
            { argument in
                guard let argument = unsafe argument else { return nil }
                unsafe Unmanaged<SignalThread>.fromOpaque(argument).takeRetainedValue().wait()
                return nil
            },
            box.toOpaque()
        )
        if code == 0 { pthread_detach(thread) }
    }
}

/// Waits for the signals.
private final class SignalThread: Sendable {
    private let signals: sigset_t
    private let request: StopRequest

    init(_ signals: sigset_t, _ request: StopRequest) {
        self.signals = signals
        self.request = request
    }

    func wait() {
        var signals = signals
        var number: Int32 = 0
        _ = unsafe sigwait(&signals, &number)
        request.make()
        _ = unsafe sigwait(&signals, &number)
        _exit(128 + number)
    }
}
