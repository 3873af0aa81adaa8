// SPDX-License-Identifier: MIT

public import XenExploration

/// The orderings of the shipped ring, each shown to be sufficient with the others and necessary by itself.
///
/// The ring is explored as it ships in every scenario, and again with one ordering left out at a time; each must
/// then break a rule somewhere.
public struct OrderingReport: Sendable {
    /// One ordering, and what happens without it.
    public struct Row: Sendable {
        /// Which ordering.
        public let point: OrderingPoint
        /// What the language calls it.
        public let ordering: String
        /// What it is for.
        public let purpose: String
        /// The scenario that breaks without it; nil if none does, and the ordering is not needed.
        public let scenario: String?
        /// The execution that breaks.
        public let violation: Violation?
    }

    /// What the ring was explored in, as it ships.
    public let proofs: [Explorer.Report]
    /// Each ordering.
    public let rows: [Row]

    /// Whether the ring holds in every scenario, and every ordering is needed.
    public var holds: Bool {
        proofs.allSatisfy(\.isProof) && rows.allSatisfy { $0.violation != nil }
    }

    /// How much is explored.
    public enum Scope: String, Sendable, CaseIterable {
        /// Seconds in a debug build.
        case small
        /// Seconds in a release build: five writes and five reads, and three of each with sleeping.
        case large
    }

    /// Explores the ring as it ships and with each ordering left out.
    ///
    /// `progress` is told of each scenario before it is explored.
    public static func make(scope: Scope = .small, progress: (String) -> Void = { _ in }) -> OrderingReport {
        let proofs = scenarios(scope).map { scenario in
            progress("\(scenario.name): \(scenario.summary)")
            return Explorer(scenario).explore()
        }
        let rows = OrderingPoint.allCases.map { point in
            progress("without the ordering of \(point.rawValue)")
            return row(point)
        }
        return OrderingReport(proofs: proofs, rows: rows)
    }

    /// The scenarios of a scope.
    public static func scenarios(_ scope: Scope) -> [Scenario] {
        let crossings: [UInt32] = [0, 0x7FFF_FFFE, 0xFFFF_FFFE]
        switch scope {
        case .small:
            return crossings.map { RingScenarios.plain(writes: 3, reads: 3, start: $0) } + [
                RingScenarios.plain(capacity: 8, writes: 3, reads: 3, chunk: 5),
                RingScenarios.onceAnEvent(writes: 2),
                RingScenarios.recheck(writes: 2, chunk: 2),
                RingScenarios.recheck(capacity: 2, writes: 3, chunk: 1, batch: 2),
                RingScenarios.restart(operations: 2, crash: .producer),
                RingScenarios.restart(operations: 2, crash: .consumer),
                RingScenarios.hostile(against: .producer, stores: 1),
                RingScenarios.hostile(against: .consumer, stores: 1, operations: 1),
                RingScenarios.farewell(),
            ]
        case .large:
            return crossings.map { RingScenarios.plain(writes: 5, reads: 5, start: $0) } + [
                RingScenarios.plain(capacity: 8, writes: 5, reads: 5, chunk: 5),
                RingScenarios.onceAnEvent(writes: 3),
                RingScenarios.recheck(writes: 3),
                RingScenarios.recheck(writes: 4, chunk: 2, batch: 2),
                RingScenarios.restart(operations: 4, crash: .producer),
                RingScenarios.restart(operations: 4, crash: .consumer),
                RingScenarios.hostile(against: .producer),
                RingScenarios.hostile(against: .consumer),
                RingScenarios.farewell(),
            ]
        }
    }

    private static func row(_ point: OrderingPoint) -> Row {
        let candidates = [
            RingScenarios.plain(writes: 2, reads: 2), RingScenarios.farewell(),
            RingScenarios.recheck(writes: 2, chunk: 2),
        ]
        for scenario in candidates {
            let report = Explorer(scenario.weakened(Weakening([point]))).explore()
            if let violation = report.violation {
                return Row(
                    point: point,
                    ordering: point.ordering,
                    purpose: point.purpose,
                    scenario: scenario.name,
                    violation: violation
                )
            }
        }
        return Row(point: point, ordering: point.ordering, purpose: point.purpose, scenario: nil, violation: nil)
    }
}

extension OrderingPoint {
    /// What the language calls the ordering, and the access it is on.
    public var ordering: String {
        switch self {
        case .producerLoad: "acquire load of cons"
        case .producerStore: "release store of prod"
        case .consumerLoad: "acquire load of prod"
        case .consumerStore: "release store of cons"
        case .connectionLoad: "acquire load of connection"
        case .connectionStore: "release store of connection"
        case .producerFence: "full fence after the store of prod"
        case .consumerFence: "full fence after the store of cons"
        }
    }

    /// What the ordering is for.
    public var purpose: String {
        switch self {
        case .producerLoad: "no byte is written over before the consumer is seen to have read it"
        case .producerStore: "the bytes are there before the index says so"
        case .consumerLoad: "no byte is read before the index that covers it"
        case .consumerStore: "the bytes are read before the index gives them back"
        case .connectionLoad: "what the backend took is known to whoever sees it gone"
        case .connectionStore: "what the backend took is stored before it says it is gone"
        case .producerFence: "the new bytes are visible before it is decided that nobody sleeps"
        case .consumerFence: "the taken bytes are visible before the last look at the index"
        }
    }
}

extension OrderingReport {
    /// The table of orderings, in Markdown.
    public var table: String {
        var lines = [
            "| ordering | what it is for | without it |", "|---|---|---|",
        ]
        for row in rows {
            let without = row.violation.map { "\($0.text) (`\(row.scenario ?? "")`)" } ?? "nothing breaks"
            lines.append("| \(row.ordering) | \(row.purpose) | \(without) |")
        }
        return lines.joined(separator: "\n")
    }

    /// The scenarios explored, in Markdown.
    public var proofTable: String {
        var lines = [
            "| scenario | executions | cut as seen before | steps | states | result |", "|---|--:|--:|--:|--:|---|",
        ]
        for proof in proofs {
            let result = proof.violation?.text ?? (proof.isComplete ? "holds" : "not finished")
            lines.append(
                "| \(proof.scenario) | \(proof.executions) | \(proof.cut) | \(proof.steps) | \(proof.states) | \(result) |"
            )
        }
        return lines.joined(separator: "\n")
    }

    /// The executions that break without an ordering, one after the other, each with its recipe.
    public var executions: String {
        rows.compactMap { row in row.violation.map { "Without the \(row.ordering):\n\n\($0)" } }
            .joined(separator: "\n\n")
    }

    /// Repeats the execution of a recipe of one of the scenarios, as it ships or with an ordering left out.
    ///
    /// Returns nil if the execution breaks no rule. Throws `RecipeError` if no scenario of that name is known.
    public static func replay(_ recipe: Recipe) throws(RecipeError) -> Violation? {
        for scenario in Scope.allCases.flatMap(scenarios) + [
            RingScenarios.plain(writes: 2, reads: 2), RingScenarios.recheck(writes: 2, chunk: 2),
        ] {
            for weakening in [Weakening.none] + OrderingPoint.allCases.map({ Weakening([$0]) }) {
                let candidate = scenario.weakened(weakening)
                if Explorer.label(of: candidate) == recipe.label {
                    return try Explorer(candidate).replay(recipe)
                }
            }
        }
        throw .doesNotFit("no scenario is called \(recipe.label)")
    }
}
