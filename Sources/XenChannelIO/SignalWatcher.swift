// SPDX-License-Identifier: MIT

import Glibc

/// Turns `SIGINT` and `SIGTERM` into calls, so that a program can end in order.
public enum SignalWatcher {
    /// Blocks both signals in this thread and those it starts, and calls `handler` in a thread of its own when one arrives.
    ///
    /// To be called once, before any other thread is started. The second signal ends the program at once.
    public static func start(_ handler: @escaping @Sendable () -> Void) {
        var signals = sigset_t()
        unsafe sigemptyset(&signals)
        unsafe sigaddset(&signals, SIGINT)
        unsafe sigaddset(&signals, SIGTERM)
        unsafe pthread_sigmask(SIG_BLOCK, &signals, nil)
        let box = unsafe Unmanaged.passRetained(Handler(signals, handler))
        var thread = pthread_t()
        let code = unsafe pthread_create(
            &thread,
            nil,
            { argument in
                guard let argument = unsafe argument else { return nil }
                unsafe Unmanaged<Handler>.fromOpaque(argument).takeRetainedValue().wait()
                return nil
            },
            box.toOpaque()
        )
        if code == 0 { pthread_detach(thread) }
    }

    private final class Handler: Sendable {
        private let signals: sigset_t
        private let handler: @Sendable () -> Void

        init(_ signals: sigset_t, _ handler: @escaping @Sendable () -> Void) {
            self.signals = signals
            self.handler = handler
        }

        func wait() {
            var signals = signals
            var number: Int32 = 0
            _ = unsafe sigwait(&signals, &number)
            handler()
            _ = unsafe sigwait(&signals, &number)
            _exit(128 + number)
        }
    }
}
