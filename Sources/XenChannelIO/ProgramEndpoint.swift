// SPDX-License-Identifier: MIT

import XenChannels

/// A program whose standard input and output are the channel.
///
/// Between two runs of a program that is restarted, bytes wait for the next one, as they do at a socket between two clients.
final class ProgramEndpoint: Endpoint {
    private let pump: StreamPump
    private let command: String
    private let reactor: Reactor
    /// Runs, or is being ended; nil between two runs.
    private var process: ChildProcess?
    private let onRestart: ((String) -> Void)?
    private var pause = RestartPause()
    private var timer: Reactor.Timer?
    private var startTime: UInt64 = 0
    private var isClosed = false
    private let onEnd: () -> Void
    private let onGone: () -> Void

    /// Starts `command`.
    ///
    /// `onEnd` is called when it has ended, or has closed both its input and its output, and all it said has gone into the ring; `onGone` after
    /// `close()`, when no process is left. With `onRestart` the program is started again instead, and that is called with a line that says so.
    init(
        command: String,
        on reactor: Reactor,
        onEnd: @escaping () -> Void,
        onGone: @escaping () -> Void,
        onRestart: ((String) -> Void)? = nil
    ) throws(SystemError) {
        self.command = command
        self.reactor = reactor
        self.onRestart = onRestart
        self.onEnd = onEnd
        self.onGone = onGone
        pump = StreamPump(on: reactor)
        pump.onOutletOver = { [unowned self] in programEnded() }
        do throws(SystemError) {
            try start()
        } catch {
            // A service waits for better times.
            guard onRestart != nil else { throw error }
            startLater("was not started: \(error)", after: .zero)
        }
    }

    deinit {
        timer?.cancel()
        // The pump may have its turn at the loop's end still.
        pump.detachOutlet()
    }

    var user: any RingUser { pump }
    var tty: String? { nil }

    /// Whether one run is over and the next has not begun.
    var isBetweenRuns: Bool { process?.isEnding ?? true }

    func close() {
        isClosed = true
        timer?.cancel()
        pump.detachOutlet()
        guard let process else { return onGone() }
        if !process.isEnding { process.end(on: reactor, completion: onGone) }
    }

    private func start() throws(SystemError) {
        let process = try ChildProcess(command: command)
        self.process = process
        startTime = Reactor.now()
        pump.attach(
            Outlet(on: reactor, input: process.output, output: process.input) { [unowned pump] _ in pump.run() }
        )
    }

    private func programEnded() {
        guard onRestart != nil, let process else { return onEnd() }
        let lifetime = Duration.nanoseconds(Reactor.now() &- startTime)
        process.end(on: reactor) { [weak self, onGone, unowned process] in
            guard let self, !isClosed else { return onGone() }
            self.process = nil
            startLater(process.ending, after: lifetime)
        }
    }

    private func startLater(_ ending: String, after lifetime: Duration) {
        let delay = pause.next(after: lifetime)
        onRestart?("'\(command)' \(ending); it is started again in \(delay)")
        let timer = timer ?? Reactor.Timer { [unowned self] in startAgain() }
        self.timer = timer
        reactor.start(timer, after: delay)
    }

    private func startAgain() {
        do throws(SystemError) {
            try start()
        } catch {
            startLater("was not started: \(error)", after: .zero)
        }
    }
}

/// How long to wait before a program that ended is started again.
///
/// The way of a service manager: each time twice as long, so that one that cannot run costs next to nothing, and from the beginning when it
/// has run for a while.
struct RestartPause {
    static let first = Duration.milliseconds(100)
    static let last = Duration.milliseconds(12_800)
    /// A run as long as this was no failure.
    static let goodRun = Duration.seconds(10)

    private var pause = RestartPause.first

    /// The pause behind a run of `lifetime`.
    mutating func next(after lifetime: Duration) -> Duration {
        if lifetime >= RestartPause.goodRun { pause = RestartPause.first }
        defer { pause = min(pause * 2, RestartPause.last) }
        return pause
    }
}
