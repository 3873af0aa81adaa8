// SPDX-License-Identifier: MIT

import Foundation
import Glibc
import Testing
import XenRing

@testable import XenChannelIO

@Suite(.timeLimit(.minutes(1)))
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

    @Test func `a command that is none ends at once`() throws {
        let bench = try Bench()
        let run = try Run("exec 2>/dev/null; /does/not/exist", bench)
        bench.reactor.turn(until: "it ended") { run.hasEnded }
        run.close()
        bench.reactor.turn(until: "no process is left") { run.isGone }
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

        init(_ command: String, _ bench: Bench, limit: Int = 65_536) throws {
            endpoint = try ProgramEndpoint(
                command: command,
                on: bench.reactor,
                onEnd: { [weak self] in self?.hasEnded = true },
                onGone: { [weak self] in self?.isGone = true }
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
