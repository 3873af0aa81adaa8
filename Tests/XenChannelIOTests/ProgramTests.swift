// SPDX-License-Identifier: MIT

import Foundation
import Glibc
import Testing
import XenRing

@testable import XenChannelIO

@Suite(.longest)
struct ProgramTests {
    @Test func `what a program says last is in the ring before its end is told`() throws {
        let bench = try Bench()
        let run = try Run("head -c 5000 /dev/zero", bench)
        var taken: [UInt8] = []
        bench.reactor.turn(until: "it ended") {
            if !run.hasEnded { taken += (try? bench.read(300)) ?? [] }
            return run.hasEnded
        }
        taken += try bench.read()
        #expect(taken == [UInt8](repeating: 0, count: 5000))
        run.close()
        bench.reactor.turn(until: "no process is left") { run.isGone }
    }

    @Test func `a program that closes only its output still takes input`() throws {
        let folder = try Folder()
        let bench = try Bench()
        let run = try Run("exec cat >\(folder("taken"))", bench)
        bench.reactor.settle()
        var written = 0
        bench.reactor.turn(until: "it has taken its input") {
            written += (try? bench.write([UInt8](pattern(50_000)[written..<min(50_000, written + 2048)]))) ?? 0
            run.endpoint?.user.run()
            return written == 50_000 && bench[word: 3080] == 50_000 && run.endpoint?.user.backlogCount == 0
        }
        #expect(!run.hasEnded)
        #expect(bench.reactor.turns() < 10)
        run.close()
        bench.reactor.turn(until: "no process is left") { run.isGone }
        // It was given the time to take in what was on its way.
        #expect([UInt8](try Data(contentsOf: URL(filePath: folder("taken")))) == pattern(50_000))
    }

    @Test func `a program is told that its input ends before anything else, and may finish`() throws {
        let folder = try Folder()
        let bench = try Bench()
        let run = try Run("cat >/dev/null; echo end >\(folder("said"))", bench)
        bench.reactor.settle()
        run.close()
        bench.reactor.turn(until: "no process is left") { run.isGone }
        #expect(FileManager.default.fileExists(atPath: folder("said")))
    }

    @Test func `a program that nobody holds any more is gone, with what it started`() throws {
        var process: ChildProcess? = try ChildProcess(command: "sleep 100 & echo $! $$; wait")
        var said: [UInt8] = []
        let deadline = Date(timeIntervalSinceNow: 10)
        while said.last != UInt8(ascii: "\n"), Date() < deadline {
            said.append(addingCapacity: 100) { _ = process?.output.read(appendingTo: &$0) }
            usleep(1000)
        }
        let numbers = String(decoding: said.dropLast(), as: UTF8.self).split(separator: " ").compactMap { pid_t($0) }
        try #require(numbers.count == 2)
        process = nil
        // The first is not this process's to collect.
        let status = { try? String(contentsOfFile: "/proc/\(numbers[0])/stat", encoding: .utf8) }
        while let text = status(), !text.contains(") Z "), Date() < deadline { usleep(1000) }
        #expect(status()?.contains(") Z ") ?? true)
        #expect(kill(numbers[1], 0) == -1)
    }

    @Test func `a program does not ignore the signals that this process ignores`() async {
        await #expect(processExitsWith: .success) {
            _ = signal(SIGINT, SIG_IGN)
            let process = try ChildProcess(command: "kill -INT $$; echo alive")
            var said: [UInt8] = []
            var transfer = Descriptor.Transfer.wait
            while transfer != .end {
                usleep(1000)
                said.append(addingCapacity: 100) { transfer = process.output.read(appendingTo: &$0) }
            }
            #expect(said.isEmpty)
        }
    }

    @Test func `a program that closes only its input still speaks`() throws {
        let bench = try Bench()
        let run = try Run("exec <&-; read x; echo silence; exec sleep 1000", bench)
        try bench.write(pattern(100))
        run.endpoint?.user.run()
        var taken: [UInt8] = []
        bench.reactor.turn(until: "it spoke") {
            taken += (try? bench.read()) ?? []
            return taken.count == 8
        }
        #expect(taken == [UInt8]("silence\n".utf8))
        #expect(!run.hasEnded)
        #expect(bench.reactor.turns() < 10)
        run.close()
        bench.reactor.turn(until: "no process is left") { run.isGone }
    }

    @Test func `a program that stops reading and goes on speaking disturbs nothing`() throws {
        let bench = try Bench()
        let run = try Run("exec yes", bench, limit: 5000)
        while try bench.write(pattern(2048)) > 0 {
            run.endpoint?.user.run()
            bench.reactor.settle()
        }
        #expect(run.endpoint?.user.backlogCount == 5000)
        var taken = 0
        bench.reactor.turn(until: "it spoke a lot") {
            taken += (try? bench.read().count) ?? 0
            return taken > 100_000
        }
        run.close()
        bench.reactor.turn(until: "no process is left") { run.isGone }
    }

    @Test func `a program that will not end is killed, and what it started`() throws {
        let folder = try Folder()
        let bench = try Bench()
        let run = try Run(
            "trap '' TERM; sleep 1000 & echo $! >\(folder("pid")); echo up; wait; wait; sleep 1000",
            bench
        )
        var taken: [UInt8] = []
        bench.reactor.turn(until: "it is up") {
            taken += (try? bench.read()) ?? []
            return taken.count == 3
        }
        let text = try String(contentsOf: URL(filePath: folder("pid")), encoding: .utf8)
        let child = try #require(pid_t(text.trimmingCharacters(in: .whitespacesAndNewlines)))
        #expect(kill(child, 0) == 0)
        run.close()
        bench.reactor.turn(until: "no process is left") { run.isGone }
        bench.reactor.turn(until: "nor its child") { isDead(child) }
    }

    @Test func `what was killed is not waited for until somebody else collects it`() throws {
        let bench = try Bench()
        let process = try ChildProcess(command: "echo $$; exec sleep 1000")
        var said: [UInt8] = []
        bench.reactor.turn(until: "it is up") {
            said.append(addingCapacity: 100) { _ = process.output.read(appendingTo: &$0) }
            return said.last == UInt8(ascii: "\n")
        }
        let group = try #require(pid_t(String(decoding: said.dropLast(), as: UTF8.self)))
        // In its group, but not its child: nobody collects it before the test's end.
        let other = try sleeper(in: group)
        defer { waitpid(other, nil, 0) }
        var hasEnded = false
        process.end(on: bench.reactor) { hasEnded = true }
        bench.reactor.turn(until: "its end is told") { hasEnded }
        #expect(process.ending == "was ended by signal 15")
        #expect(isDead(other))
    }

    /// A child of this process in the process group of another.
    private func sleeper(in group: pid_t) throws -> pid_t {
        var attributes = posix_spawnattr_t()
        unsafe posix_spawnattr_init(&attributes)
        defer { unsafe posix_spawnattr_destroy(&attributes) }
        unsafe posix_spawnattr_setpgroup(&attributes, group)
        unsafe posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP))
        var pid: pid_t = 0
        let words = ["sleep", "1000"]
        var arguments = unsafe words.map { unsafe strdup($0) } + [nil]
        defer { unsafe arguments.forEach { unsafe free($0) } }
        let code = unsafe posix_spawnp(&pid, "sleep", nil, &attributes, &arguments, environ)
        guard code == 0 else { throw SystemError("posix_spawnp", "sleep", code: code) }
        return pid
    }

    @Test func `a command that is none ends at once`() throws {
        let bench = try Bench()
        let run = try Run("exec 2>/dev/null; /does/not/exist", bench)
        bench.reactor.turn(until: "it ended") { run.hasEnded }
        run.close()
        bench.reactor.turn(until: "no process is left") { run.isGone }
    }

    @Test func `what a program leaves behind when it ends goes with the channel`() throws {
        let bench = try Bench()
        let run = try Run("sleep 1000 >&- 2>&- & echo $!", bench)
        var taken: [UInt8] = []
        bench.reactor.turn(until: "it ended") {
            taken += (try? bench.read()) ?? []
            return run.hasEnded
        }
        let child = try #require(pid_t(String(decoding: taken.dropLast(), as: UTF8.self)))
        #expect(!isDead(child))
        run.close()
        bench.reactor.turn(until: "no process is left") { run.isGone }
        #expect(isDead(child))
    }

    @Test func `a service is started again, and what comes meanwhile waits for the next run`() throws {
        let bench = try Bench()
        let run = try Run("read line; echo got $line; [ $line = c ] && kill -9 $$; exit 3", bench, restarts: true)
        var taken: [UInt8] = []
        var expected = ""
        for (round, line) in ["a", "b", "c"].enumerated() {
            try bench.write([UInt8]("\(line)\n".utf8))
            run.endpoint?.user.run()
            bench.reactor.turn(until: "\(line) is answered and the end told") {
                taken += (try? bench.read()) ?? []
                return run.restarts.count == round + 1
            }
            expected += "got \(line)\n"
            #expect(String(decoding: taken, as: UTF8.self) == expected)
        }
        #expect(run.restarts[0].hasSuffix(" ended with status 3; it is started again in 0.1 seconds"))
        #expect(run.restarts[1].hasSuffix(" ended with status 3; it is started again in 0.2 seconds"))
        #expect(run.restarts[2].hasSuffix(" was ended by signal 9; it is started again in 0.4 seconds"))
        // In the middle of a pause there is nobody to wait for.
        #expect(!run.hasEnded && !run.isGone)
        run.close()
        #expect(run.isGone)
        #expect(bench.reactor.turns() < 5)
        #expect(run.restarts.count == 3)
    }

    @Test func `a service that is closed while it ends is not started again`() throws {
        let bench = try Bench()
        let run = try Run("trap '' TERM; echo up; exec <&- >&-; while :; do sleep 1000; done", bench, restarts: true)
        var taken: [UInt8] = []
        bench.reactor.turn(until: "it is being ended") {
            taken += (try? bench.read()) ?? []
            return run.endpoint?.isBetweenRuns == true
        }
        #expect(taken.count == 3 && run.restarts.isEmpty && !run.isGone)
        run.close()
        bench.reactor.turn(until: "no process is left") { run.isGone }
        #expect(run.restarts.isEmpty && !run.hasEnded)
    }

    @Test func `a service whose owner is gone without a word is not started again, and goes with the loop`() throws {
        var bench: Bench? = try Bench()
        weak let reactor = bench?.reactor
        var run: Run? = try Run("exec <&- >&-; exec sleep 1000", try #require(bench), restarts: true)
        weak let endpoint = run?.endpoint
        bench?.reactor.turn(until: "it is being ended") { run?.endpoint?.isBetweenRuns == true }
        run = nil
        #expect(endpoint == nil)
        bench?.reactor.settle()
        // Nor does it outlive the loop that was to end it.
        bench = nil
        #expect(reactor == nil)
    }

    @Test func `the pause between two runs doubles up to its bound, and begins anew behind a good run`() {
        var pause = RestartPause()
        let bad = RestartPause.goodRun - .nanoseconds(1)
        let pauses = (0..<10).map { _ in pause.next(after: bad) }
        #expect(pauses == [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 12_800, 12_800].map { .milliseconds($0) })
        #expect(pause.next(after: RestartPause.goodRun) == .milliseconds(100))
        #expect(pause.next(after: .zero) == .milliseconds(200))
    }

    /// Dead, or waiting to be collected by whoever inherited it.
    private func isDead(_ pid: pid_t) -> Bool {
        guard kill(pid, 0) == 0 else { return true }
        let status = try? String(contentsOf: URL(filePath: "/proc/\(pid)/stat"), encoding: .utf8)
        return status?.contains(") Z ") ?? true
    }

    /// A program at the backend's side of a bench.
    private final class Run {
        private(set) var endpoint: ProgramEndpoint?
        private(set) var hasEnded = false
        private(set) var isGone = false
        /// What was said each time it was to be started again.
        private(set) var restarts: [String] = []

        init(_ command: String, _ bench: Bench, limit: Int = 65_536, restarts: Bool = false) throws {
            let onRestart: (String) -> Void = { [unowned self] in self.restarts.append($0) }
            endpoint = try ProgramEndpoint(
                command: command,
                on: bench.reactor,
                onEnd: { [weak self] in self?.hasEnded = true },
                onGone: { [weak self] in self?.isGone = true },
                onRestart: restarts ? onRestart : nil
            )
            endpoint?.user.attach(try bench.ring(), limit: limit)
        }

        func close() {
            endpoint?.user.detachRing()
            endpoint?.close()
            endpoint = nil
        }
    }
}
