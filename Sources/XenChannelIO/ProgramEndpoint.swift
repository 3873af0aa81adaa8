// SPDX-License-Identifier: MIT

/// A program whose standard input and output are the channel.
final class ProgramEndpoint: Endpoint {
    private let pump: StreamPump
    private let process: ChildProcess
    private let reactor: Reactor
    private let onGone: () -> Void

    /// Starts `command`.
    ///
    /// `onEnd` is called when it has ended, or has closed both its input and its output, and all it said has gone into the ring; `onGone` after
    /// `close()`, when no process is left.
    init(
        command: String,
        on reactor: Reactor,
        onEnd: @escaping () -> Void,
        onGone: @escaping () -> Void
    ) throws(SystemError) {
        self.reactor = reactor
        self.onGone = onGone
        process = try ChildProcess(command: command)
        pump = StreamPump(on: reactor)
        pump.onOutletOver = onEnd
        pump.attach(
            Outlet(on: reactor, input: process.output, output: process.input) { [unowned pump] _ in pump.run() }
        )
    }

    var user: any RingUser { pump }
    var tty: String? { nil }

    func close() {
        pump.detachOutlet()
        process.end(on: reactor, completion: onGone)
    }
}
