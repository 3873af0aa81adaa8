// SPDX-License-Identifier: MIT

import Foundation
import Glibc
import Synchronization
import XenChannelIO
import XenExploration
import XenSimulator

/// `xenchan simulate`: a scenario from many seeds, until one fails.
struct SimulateCommand {
    private static let topic = "simulate"
    private var seeds = 0
    private var firstSeed: UInt64 = 0
    private var jobs = 1
    private var isJSON = false
    private var isVerbose = false
    private let experiment: Experiment

    init(_ arguments: Arguments) throws {
        var arguments = arguments
        var scenario = Scenario.mixed.name
        var faults: [String] = []
        var preemptions: Int?
        while let word = arguments.next() {
            switch word {
            case "--seeds": seeds = try arguments.number(of: word, in: SimulateCommand.topic, 1...Int.max)
            case "--seed": firstSeed = try arguments.number(of: word, in: SimulateCommand.topic, 0...UInt64.max)
            case "--jobs": jobs = try arguments.number(of: word, in: SimulateCommand.topic, 1...64)
            case "--scenario": scenario = try arguments.value(of: word, in: SimulateCommand.topic)
            case "--faults":
                faults = try arguments.value(of: word, in: SimulateCommand.topic)
                    .split(separator: ",", omittingEmptySubsequences: false).map(String.init)
            case "--preemptions": preemptions = try arguments.number(of: word, in: SimulateCommand.topic, 0...Int.max)
            case "--json": isJSON = true
            case "--verbose": isVerbose = true
            default: throw arguments.unknown(word, in: SimulateCommand.topic)
            }
        }
        guard seeds > 0 else { throw UsageError(SimulateCommand.topic, "--seeds N is needed") }
        if faults.count > 1, faults.contains("none") {
            let list = faults.joined(separator: ",")
            throw UsageError(SimulateCommand.topic, "--faults is none or a list without it, not '\(list)'")
        }
        experiment = try SimulateCommand.experiment(
            scenario,
            faults: faults,
            preemptions: preemptions,
            SimulateCommand.topic
        )
    }

    /// The scenario and the faults of these names.
    static func experiment(
        _ name: String,
        faults: [String],
        preemptions: Int? = nil,
        _ topic: String
    ) throws -> Experiment {
        guard let scenario = Scenario.named(name) else {
            let known = Scenario.all.map(\.name).joined(separator: ", ")
            throw UsageError(topic, "there is no scenario '\(name)'; there is \(known)")
        }
        guard let experiment = Experiment(scenario, faults: faults, preemptions: preemptions) else {
            let unknown = faults.first { Fault.named($0) == nil } ?? ""
            let known = Fault.groups.map(\.name).joined(separator: ", ")
            throw UsageError(topic, "there is no fault '\(unknown)'; there is \(known), and each fault by itself")
        }
        return experiment
    }

    // MARK: Running

    func run() throws -> Int32 {
        let reactor = try Reactor()
        let stopRequest = StopRequest(to: reactor.waker)
        stopRequest.makeAtSignals()
        let series = Series(experiment, seeds: seeds, firstSeed: firstSeed, stopRequest: stopRequest)
        let start = ContinuousClock.now
        let group = DispatchGroup()
        for _ in 0..<jobs {
            group.enter()
            let thread = Thread {
                series.work()
                group.leave()
            }
            // A thread other than the first has a small stack, and machines nest deeply in unoptimised builds.
            thread.stackSize = 8 << 20
            thread.start()
        }
        let showsProgress = isatty(STDERR_FILENO) != 0
        while group.wait(timeout: .now() + .milliseconds(500)) == .timedOut {
            if showsProgress { Console.progress(progress(series, start)) }
        }
        if showsProgress { Console.progress(progress(series, start) + "\n") }
        return try report(series, start, wasStopped: stopRequest.isMade)
    }

    private func progress(_ series: Series, _ start: ContinuousClock.Instant) -> String {
        let seconds = max(SimulateCommand.seconds(since: start), 0.001)
        let done = series.seedsDone
        let rate = Int(Double(done) / seconds)
        let stepRate = Int(Double(series.stepsDone) / seconds)
        let pairs = "\(series.coverage.reachedCount) of \(HandshakeCoverage.pairCount) (state, event) pairs"
        let failures = series.failure == nil ? "no failure" : "a failure, being made small"
        return "\(done) of \(seeds) seeds, \(rate) seeds/s, \(stepRate) steps/s, \(pairs), \(failures)"
    }

    private static func seconds(since start: ContinuousClock.Instant) -> Double {
        let elapsed = (ContinuousClock.now - start).components
        return Double(elapsed.seconds) + Double(elapsed.attoseconds) / 1e18
    }

    private func report(_ series: Series, _ start: ContinuousClock.Instant, wasStopped: Bool) throws -> Int32 {
        let failure = series.failure
        if isJSON {
            try Console.print(
                json: Outcome(
                    experiment: experiment.label,
                    seeds: series.seedsDone,
                    steps: series.stepsDone,
                    stopped: wasStopped,
                    pairs: Outcome.Pairs(series.coverage),
                    failure: failure?.message,
                    recipe: failure?.recipe.description
                )
            )
        } else if let failure {
            Console.print(failure.description)
        } else {
            Console.print(
                "\(series.seedsDone) seeds passed, \(series.stepsDone) steps" + (wasStopped ? ", stopped" : "")
            )
        }
        if isVerbose, !isJSON { printCoverage(series.coverage) }
        return failure == nil ? ExitCode.success : ExitCode.failure
    }
}

extension SimulateCommand {
    /// Says which cells of the handshakes' tables no run has come by.
    private func printCoverage(_ coverage: HandshakeCoverage) {
        let unreached = coverage.unreached
        Console.print("\(coverage.reachedCount) of \(HandshakeCoverage.pairCount) (state, event) pairs were reached")
        for pair in unreached { Console.print("  not reached: \(pair)") }
    }
}

/// What came of it, for programs.
private struct Outcome: Encodable {
    let experiment: String
    let seeds: Int
    let steps: Int
    let stopped: Bool
    let pairs: Pairs
    let failure: String?
    let recipe: String?

    /// Which cells of the handshakes' tables the runs came by.
    struct Pairs: Encodable {
        let reached: Int
        let count: Int
        let unreached: [String]

        init(_ coverage: HandshakeCoverage) {
            reached = coverage.reachedCount
            count = HandshakeCoverage.pairCount
            unreached = coverage.unreached.map(\.description)
        }
    }
}

/// A series of seeds that several threads work on.
private final class Series: Sendable {
    private let experiment: Experiment
    private let seeds: Int
    private let firstSeed: UInt64
    private let stopRequest: StopRequest
    private let next = Atomic(0)
    private let done = Atomic(0)
    private let steps = Atomic(0)
    private let seen = Mutex(HandshakeCoverage())
    /// The failure with the lowest number in the series.
    private let found = Mutex<(number: Int, failure: ExperimentFailure)?>(nil)

    init(_ experiment: Experiment, seeds: Int, firstSeed: UInt64, stopRequest: StopRequest) {
        self.experiment = experiment
        self.seeds = seeds
        self.firstSeed = firstSeed
        self.stopRequest = stopRequest
    }

    var seedsDone: Int { done.load(ordering: .relaxed) }
    var stepsDone: Int { steps.load(ordering: .relaxed) }
    var coverage: HandshakeCoverage { seen.withLock { $0 } }
    var failure: ExperimentFailure? { found.withLock { $0?.failure } }

    func work() {
        while !stopRequest.isMade, failure == nil {
            let number = next.wrappingAdd(1, ordering: .relaxed).oldValue
            guard number < seeds else { return }
            let result = experiment.check(seed: Experiment.seed(firstSeed, case: number)) { stopRequest.isMade }
            seen.withLock { $0.formUnion(result.coverage) }
            steps.wrappingAdd(result.steps, ordering: .relaxed)
            done.wrappingAdd(1, ordering: .relaxed)
            guard let failure = result.failure else { continue }
            found.withLock { if ($0?.number ?? .max) > number { $0 = (number, failure) } }
        }
    }
}
