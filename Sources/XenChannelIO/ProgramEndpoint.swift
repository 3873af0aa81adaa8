// SPDX-License-Identifier: MIT

/// A program whose standard input and output are the channel.
final class ProgramEndpoint: Endpoint {
    private let pump: StreamPump
    private let process: ChildProcess
    private let reactor: Reactor

    /// How long a program may take to end when it is asked to.
    private static let grace = Duration.milliseconds(500)

    /// Starts `command`; `onEnd` is called when it has closed its output and all of that has gone into the ring.
    init(command: String, on reactor: Reactor, onEnd: @escaping () -> Void) throws(SystemError) {
        self.reactor = reactor
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
        process.terminate()
        if !process.reap() {
            _ = reactor.after(ProgramEndpoint.grace) { [process] in _ = process.reap() }
        }
    }
}
