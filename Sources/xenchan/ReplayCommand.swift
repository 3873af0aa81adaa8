// SPDX-License-Identifier: MIT

import XenBus
import XenExploration
import XenRingChecker
import XenSimulator

/// `xenchan replay`: one run of the simulator, seen step by step.
struct ReplayCommand {
    private static let topic = "replay"
    private var recipe: Recipe?
    private var file: String?
    private var isDiagram = false
    private var other: Recipe?
    private var lastStep: Int?

    init(_ arguments: Arguments) throws {
        var arguments = arguments
        while let word = arguments.next() {
            switch word {
            case "--svg": file = try arguments.value(of: word, in: ReplayCommand.topic)
            case "--diagram": isDiagram = true
            case "--diff": other = try ReplayCommand.recipe(arguments.value(of: word, in: ReplayCommand.topic))
            case "--at":
                lastStep = try arguments.number(of: word, in: ReplayCommand.topic, 0...Int.max)
            default:
                guard !word.hasPrefix("-"), recipe == nil else {
                    throw arguments.unknown(word, in: ReplayCommand.topic)
                }
                recipe = try ReplayCommand.recipe(word)
            }
        }
        try arguments.refuseTogether([["--at"], ["--diff"], ["--diagram", "--svg"]], in: ReplayCommand.topic)
        guard recipe != nil else { throw UsageError(ReplayCommand.topic, "a recipe is needed") }
    }

    private static func recipe(_ word: String) throws -> Recipe {
        do {
            return try Recipe(parsing: word)
        } catch {
            throw UsageError(topic, "'\(word)': \(error)")
        }
    }

    private static func experiment(_ recipe: Recipe) throws -> Experiment {
        if let experiment = Experiment(recipe) { return experiment }
        // Says which of its words nobody knows.
        let words = recipe.label.split(separator: "+", omittingEmptySubsequences: false).map(String.init)
        return try SimulateCommand.experiment(words[0], faults: [String](words.dropFirst()), topic)
    }

    func run() throws -> Int32 {
        guard let recipe else { return ExitCode.usage }
        let experiment = try ReplayCommand.experiment(recipe)
        if let lastStep {
            show(experiment.run(recipe.choices(), upTo: lastStep))
            return ExitCode.success
        }
        let simulation = try experiment.replay(recipe)
        if let other { return try compare(simulation, with: other) }
        if let trace = simulation.trace {
            let diagram = SequenceDiagram(trace)
            Console.print((isDiagram ? diagram.lines() : trace.lines()).joined(separator: "\n"))
            if let file { try Files.write(diagram.svg(), to: file) }
        }
        guard let failure = simulation.failure else {
            Console.print("passed after \(simulation.steps) steps")
            return ExitCode.success
        }
        Console.print("failed after \(simulation.steps) steps: \(failure)")
        return ExitCode.failure
    }

    /// The store's tree and each channel's page after a step.
    private func show(_ simulation: Simulation) {
        Console.print("after step \(simulation.steps), at \(simulation.now):")
        Console.print(simulation.storeListing)
        for channel in simulation.channels {
            let states = [channel.frontend.map { "\($0)" } ?? "none", channel.backend.map { "\($0)" } ?? "none"]
            let name = "channel \(channel.key.frontend)/\(channel.key.device) \(channel.name)"
            Console.print("\(name): frontend \(states[0]), backend \(states[1])")
            if let page = simulation.page(of: channel.key) { Console.print(RingPicture(page).text()) }
        }
    }

    /// Where two runs part; exit code 1 if they do.
    private func compare(_ simulation: Simulation, with other: Recipe) throws -> Int32 {
        let second = try ReplayCommand.experiment(other).replay(other)
        guard let left = simulation.trace, let right = second.trace,
            let difference = Trace.difference(left, right)
        else {
            Console.print("the same \(simulation.steps) steps")
            return ExitCode.success
        }
        Console.print(difference.joined(separator: "\n"))
        return ExitCode.failure
    }
}
