// SPDX-License-Identifier: MIT

import Foundation
import Glibc
import XenExploration
import XenRingChecker

/// `xenchan check`: the ring's orderings, proven over every behaviour that weak memory allows.
struct CheckCommand {
    private static let topic = "check"
    private var scope = OrderingReport.Scope.large
    private var recipe: Recipe?
    private var showsExecutions = false
    private var isDocument = false
    private var isJSON = false

    init(_ arguments: Arguments) throws {
        var arguments = arguments
        while let word = arguments.next() {
            switch word {
            case "--quick": scope = .small
            case "--executions": showsExecutions = true
            case "--document": isDocument = true
            case "--json": isJSON = true
            default:
                guard !word.hasPrefix("-"), recipe == nil else {
                    throw arguments.unknown(word, in: CheckCommand.topic)
                }
                do {
                    recipe = try Recipe(parsing: word)
                } catch {
                    throw UsageError(CheckCommand.topic, "'\(word)': \(error)")
                }
            }
        }
        try arguments.refuseTogether([["--executions"], ["--document"], ["--json"]], in: CheckCommand.topic)
        if recipe != nil, let option = arguments.options.first {
            throw UsageError(CheckCommand.topic, "a recipe's execution is repeated as it is, without \(option)")
        }
    }

    /// Exit code 1 says that the ring breaks a rule, or that an ordering is not needed.
    func run() throws -> Int32 {
        if let recipe { return try replay(recipe) }
        let isTerminal = isatty(2) == 1
        let report = OrderingReport.make(scope: scope) { what in
            if isTerminal { Console.progress(what) }
        }
        if isTerminal { Console.progress("") }
        if isJSON {
            for proof in report.proofs { try Console.print(json: ProofLine(proof)) }
        } else if isDocument {
            Console.print(CheckCommand.document(report))
        } else {
            Console.print(report.proofTable + "\n\n" + report.table)
            if showsExecutions { Console.print("\n" + report.executions) }
        }
        return report.holds ? ExitCode.success : ExitCode.failure
    }

    /// The article of the documentation that this command makes.
    private static func document(_ report: OrderingReport) -> String {
        """
        # The ring's memory orderings

        What each ordering of the ring is for, and what breaks without it.

        Made by `xenchan check --document`, which runs the ring as it ships over a model of memory. Every interleaving of the two
        sides is explored, and every value that a load may return under RC11: the memory model of C and Swift without load
        buffering, so that a load is not moved behind a later store of the same thread. Rings are small and every scenario moves more than
        fits. Executions that reach a state seen before are cut there.

        ## What holds

        \(report.proofTable)

        ## What each ordering is for

        \(report.table)

        ## The executions that break

        ```text
        \(report.executions)
        ```
        """
    }

    private func replay(_ recipe: Recipe) throws -> Int32 {
        guard let violation = try OrderingReport.replay(recipe) else {
            Console.print("this execution breaks no rule")
            return ExitCode.success
        }
        Console.print(violation.description)
        return ExitCode.failure
    }
}

/// A scenario for programs.
private struct ProofLine: Encodable {
    let scenario: String
    let executions: Int
    let states: Int
    let holds: Bool
    let recipe: String?

    init(_ report: Explorer.Report) {
        scenario = report.scenario
        executions = report.executions
        states = report.states
        holds = report.isProof
        recipe = report.violation?.recipe.description
    }
}
