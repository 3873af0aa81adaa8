// SPDX-License-Identifier: MIT

import Foundation
import XenExploration
import XenSimulator

/// `xenchan replay`: one run of the simulator, seen step by step.
struct ReplayCommand {
    private static let topic = "replay"
    private var recipe: Recipe?
    private var file: String?
    private var isDiagram = false

    init(_ arguments: Arguments) throws {
        var arguments = arguments
        while let word = arguments.next() {
            switch word {
            case "--svg": file = try arguments.value(of: word, in: ReplayCommand.topic)
            case "--diagram": isDiagram = true
            default:
                guard !word.hasPrefix("-"), recipe == nil else {
                    throw arguments.unknown(word, in: ReplayCommand.topic)
                }
                do {
                    recipe = try Recipe(parsing: word)
                } catch {
                    throw UsageError(ReplayCommand.topic, error.description)
                }
            }
        }
        guard recipe != nil else { throw UsageError(ReplayCommand.topic, "a recipe is needed") }
    }

    func run() throws -> Int32 {
        guard let recipe else { return ExitCode.usage }
        guard let experiment = Experiment(recipe) else {
            throw UsageError(ReplayCommand.topic, "there is no scenario '\(recipe.label)'")
        }
        let simulation = try experiment.replay(recipe)
        if let trace = simulation.trace {
            let diagram = SequenceDiagram(trace)
            Console.print((isDiagram ? diagram.lines() : trace.lines()).joined(separator: "\n"))
            if let file { try diagram.svg().write(to: URL(filePath: file), atomically: true, encoding: .utf8) }
        }
        guard let failure = simulation.failure else {
            Console.print("passed after \(simulation.steps) steps")
            return ExitCode.success
        }
        Console.print("failed after \(simulation.steps) steps: \(failure)")
        return ExitCode.failure
    }
}
