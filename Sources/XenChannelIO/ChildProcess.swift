// SPDX-License-Identifier: MIT

import Glibc

/// A program that runs beside this one, its standard input and output being ours; run by `/bin/sh -c`.
final class ChildProcess {
    let command: String
    /// Writing here is the program's standard input; nil once it was closed.
    private(set) var input: Descriptor?
    /// Reading here is the program's standard output.
    let output: Descriptor
    private var pid: pid_t

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

    deinit {
        guard pid > 0, !reap() else { return }
        kill(-pid, SIGKILL)
        waitpid(pid, nil, 0)
    }

    /// Asks the program, and what it started, to end; what has not ended when this object goes is killed.
    func terminate() {
        input = nil
        if pid > 0 { kill(-pid, SIGTERM) }
    }

    /// Takes the program's end, if it has ended.
    func reap() -> Bool {
        guard pid > 0 else { return true }
        guard waitpid(pid, nil, WNOHANG) == pid else { return false }
        pid = 0
        return true
    }

    private static func makePipe() throws(SystemError) -> (read: Descriptor, write: Descriptor) {
        var ends: [Int32] = [-1, -1]
        guard unsafe pipe(&ends) == 0 else { throw SystemError("pipe", "") }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
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
        let code = unsafe posix_spawn(&pid, "/bin/sh", &actions, &attributes, &arguments, environ)
        guard code == 0 else { throw SystemError("posix_spawn", command, code: code) }
        return pid
    }
}
