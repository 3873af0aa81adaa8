// SPDX-License-Identifier: MIT

import Foundation

/// `swift run -c release Benchmarks`: what the project costs, against what a user would take instead.
@main
enum Main {
    static let help = """
        usage: Benchmarks [FILTER] [--quick] [--goals] [--json FILE] [--compare FILE] [--svg FOLDER]

        Measures in interleaved rounds; prints medians, and paired ratios against peers.

          FILTER            only what has this in its name: \(groups.map(\.name).joined(separator: ", "))
          --quick           fewer rounds: under two minutes
          --goals           exit code 1 if one is not met
          --json FILE       save the figures
          --compare FILE    say what got slower than in a saved run; exit code 1 then
          --svg FOLDER      draw the ratios

          swift run -c release Benchmarks --quick --json before.json
          swift run -c release Benchmarks --quick --compare before.json
          swift run -c release Benchmarks ring/instructions

        XENSTORED_PEER=SOCKET compares the store with the real xenstored at that socket. Instructions are
        counted by valgrind, and the ring in C is compiled by clang.
        """

    /// What there is, in the order in which it is measured.
    private static let groups: [(name: String, run: @Sendable (Suite) throws -> Void)] = [
        ("ring/write+read", RingBenchmarks.run),
        ("ring/instructions", InstructionBenchmarks.run),
        ("ring/counted", RingBenchmarks.count),
        ("threads/", ThreadBenchmarks.run),
        ("path/", PathBenchmarks.run),
        ("stream/", StreamBenchmarks.run),
        ("many/", ManyBenchmarks.run),
        ("store/", StoreBenchmarks.run),
        ("simulator/", SimulatorBenchmarks.run),
        ("handshake/", HandshakeBenchmarks.run),
        ("checker/", CheckerBenchmarks.run),
    ]

    static func main() {
        do {
            try run()
        } catch {
            refuse("\(error)")
        }
    }

    private static func run() throws {
        // A client that leaves while a server writes to it is no reason to end.
        signal(SIGPIPE, SIG_IGN)
        let words = Array(CommandLine.arguments.dropFirst())
        if InstructionBenchmarks.runIfCounted(words) { return }
        if try PathBenchmarks.runIfCounted(words) { return }
        var options = Options()
        do {
            try options.parse(words)
        } catch {
            say("Benchmarks: \(error)\n\(help)")
            exit(2)
        }
        if options.wantsHelp {
            print(help)
            return
        }
        try options.prepare()
        #if DEBUG
            say("warning: a debug build says nothing about speed; use swift run -c release Benchmarks")
        #endif
        let machine = Machine()
        if let warning = machine.warningAtStart { say(warning) }
        allowDescriptors()
        try Scratch.open()
        defer { Scratch.close() }
        let suite = Suite(filter: options.filter, isQuick: options.isQuick)
        for group in groups { try group.run(suite) }
        if suite.measurements.isEmpty, !suite.hasSkipped, let filter = options.filter {
            let known = suite.names.isEmpty ? groups.map(\.name) : suite.names
            say("Benchmarks: nothing has '\(filter)' in its name; there is \(known.joined(separator: ", "))")
            Scratch.close()
            exit(2)
        }
        if let warning = machine.warningAtEnd { say(warning) }
        let report = Report(measurements: suite.measurements)
        if !suite.measurements.isEmpty { print(report.text + "\n\n" + report.chart) }
        let hasRegressed: Bool
        do {
            hasRegressed = try options.save(report)
        } catch {
            say("Benchmarks: \(error)")
            Scratch.close()
            exit(1)
        }
        // Of what is not measured nobody knows whether it meets a goal.
        let isMissed = suite.hasSkipped || suite.measurements.contains { $0.met == false }
        if hasRegressed || (options.insistsOnGoals && isMissed) || suite.measurements.isEmpty {
            Scratch.close()
            exit(1)
        }
    }

    /// A thousand channels need more descriptors than a shell mostly allows.
    private static func allowDescriptors() {
        var limit = rlimit()
        unsafe getrlimit(__rlimit_resource_t(7), &limit)
        limit.rlim_cur = limit.rlim_max
        unsafe setrlimit(__rlimit_resource_t(7), &limit)
    }

    static func say(_ text: String) {
        FileHandle.standardError.write(Data((text + "\n").utf8))
    }
}
