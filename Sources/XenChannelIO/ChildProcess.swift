// SPDX-License-Identifier: MIT

import Glibc

/// A program that runs beside this one, its standard input and output being ours; run by `/bin/sh -c`.
final class ChildProcess {
    let command: String
    /// Writing here is the program's standard input; nil once it was closed.
    private(set) var input: Descriptor?
    /// Reading here is the program's standard output.
    let output: Descriptor
    /// The program, and the group of what it started; 0 when all of them are gone.
    private var pid: pid_t
    /// What `waitpid` said; nil until the program has ended.
    private var status: Int32?
    private(set) var isEnding = false
    private var isKilled = false

    /// Starts `command`; its standard error is ours.
    init(command: String) throws(SystemError) {
        self.command = command
        let (childInput, input) = try ChildProcess.makePipe()
        let (output, childOutput) = try ChildProcess.makePipe()
        self.input = input
        self.output = output
        pid = 0
        pid = try ChildProcess.spawn(command, input: childInput, output: childOutput)
        input.configure()
        output.configure()
    }

    /// How long a program may take to end when its input has ended.
    private static let timeToEnd = Duration.milliseconds(250)
    /// How long it may take after it was told to.
    private static let timeToTerminate = Duration.milliseconds(500)
    /// How often to look meanwhile.
    private static let interval = Duration.milliseconds(10)

    deinit {
        guard pid > 0, !reap() else { return }
        kill(-pid, SIGKILL)
        if status == nil { waitpid(pid, nil, 0) }
    }

    /// How the program ended, for a person.
    var ending: String {
        guard let status else { return "runs still" }
        let signal = status & 0x7F
        return signal == 0 ? "ended with status \(status >> 8 & 0xFF)" : "was ended by signal \(signal)"
    }

    /// Ends the program and what it started, and calls `completion` when it has ended.
    ///
    /// Its input ends first, so that it can take in what it was sent; then it is told to end, then it is killed. To be called once.
    func end(on reactor: Reactor, completion: @escaping () -> Void) {
        input = nil
        isEnding = true
        let now = Reactor.now()
        let term = now &+ ChildProcess.timeToEnd.nanoseconds
        let kill = term &+ ChildProcess.timeToTerminate.nanoseconds
        look(after: [(term, SIGTERM), (kill, SIGKILL)], on: reactor, completion: completion)
    }

    private func look(
        after signals: [(time: UInt64, number: Int32)],
        on reactor: Reactor,
        completion: @escaping () -> Void
    ) {
        guard !reap() else { return completion() }
        var signals = signals
        if let next = signals.first, next.time <= Reactor.now() {
            kill(-pid, next.number)
            isKilled = next.number == SIGKILL
            signals.removeFirst()
        }
        // Whoever ends the loop ends the program with it, by its `deinit`.
        _ = reactor.after(ChildProcess.interval) { [self, unowned reactor] in
            look(after: signals, on: reactor, completion: completion)
        }
    }

    /// Takes the program's end, if it has ended; returns whether all it started has ended as well.
    private func reap() -> Bool {
        guard pid > 0 else { return true }
        if status == nil {
            var status: Int32 = 0
            let result = unsafe waitpid(pid, &status, WNOHANG)
            // Of a child of a process that ignores SIGCHLD nothing is known but that it is gone.
            guard result == pid || result < 0 && errno == ECHILD else { return false }
            self.status = status
        }
        // A group keeps its number while somebody is in it; who was killed and is not collected by whoever inherited it may stay there.
        if !isKilled, kill(-pid, 0) == 0 { return false }
        pid = 0
        return true
    }

    private static func makePipe() throws(SystemError) -> (read: Descriptor, write: Descriptor) {
        var ends: [Int32] = [-1, -1]
        let isMade = Descriptor.creating {
            guard unsafe pipe(&ends) == 0 else { return false }
            for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
            return true
        }
        guard isMade else { throw SystemError("pipe", "") }
        return (Descriptor(ends[0]), Descriptor(ends[1]))
    }

    private static func spawn(_ command: String, input: Descriptor, output: Descriptor) throws(SystemError) -> pid_t {
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        unsafe posix_spawn_file_actions_adddup2(&actions, input.raw, 0)
        unsafe posix_spawn_file_actions_adddup2(&actions, output.raw, 1)
        // The program must not inherit the signals that this process blocks or ignores.
        var attributes = posix_spawnattr_t()
        unsafe posix_spawnattr_init(&attributes)
        defer { unsafe posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        unsafe sigemptyset(&none)
        unsafe posix_spawnattr_setsigmask(&attributes, &none)
        var all = sigset_t()
        unsafe sigfillset(&all)
        unsafe posix_spawnattr_setsigdefault(&attributes, &all)
        unsafe posix_spawnattr_setflags(
            &attributes,
            Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP)
        )
        var pid: pid_t = 0
        let words = ["sh", "-c", command]
        var arguments = unsafe words.map { unsafe strdup($0) } + [nil]
        defer { unsafe arguments.forEach { unsafe free($0) } }
        let code = Descriptor.creating {
            unsafe posix_spawn(&pid, "/bin/sh", &actions, &attributes, &arguments, environ)
        }
        guard code == 0 else { throw SystemError("posix_spawn", command, code: code) }
        return pid
    }
}
