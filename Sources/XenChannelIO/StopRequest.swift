// SPDX-License-Identifier: MIT

import Glibc
import Synchronization

/// A wish that a loop ends in order, which any thread can make, and `SIGINT`, `SIGTERM` and `SIGHUP`.
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

    private static func isIgnored(_ signal: Int32) -> Bool {
        var action = sigaction()
        guard unsafe sigaction(signal, nil, &action) == 0 else { return false }
        let handler = unsafe unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self)
        let ignoring = unsafe unsafeBitCast(SIG_IGN, to: Int.self)
        return handler == ignoring
    }

    /// Blocks these signals in this thread and those it starts; from here on the first one makes this request, and the
    /// second ends the program at once.
    ///
    /// To be called once, before any other thread is started.
    public func makeAtSignals() {
        var signals = sigset_t()
        unsafe sigemptyset(&signals)
        unsafe sigaddset(&signals, SIGINT)
        unsafe sigaddset(&signals, SIGTERM)
        // Under nohup it goes on.
        if !StopRequest.isIgnored(SIGHUP) { unsafe sigaddset(&signals, SIGHUP) }
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
