// SPDX-License-Identifier: MIT

public import XenExploration

/// An execution that breaks a rule.
public struct Violation: Sendable {
    /// Which rule, and who broke it.
    public let text: String
    /// The line that repeats the execution.
    public let recipe: Recipe
    /// The names of the strands.
    public let names: [String]
    /// What was done, step by step.
    let steps: [(strand: Int, text: String)]

    /// The execution as a table: a line for each step, a column for each strand.
    public var listing: String {
        let widths = names.indices.map { column in
            max(names[column].count, steps.filter { $0.strand == column }.map(\.text.count).max() ?? 0) + 2
        }
        var lines = ["     " + zip(names, widths).map { Violation.pad($0, to: $1) }.joined()]
        lines.append("     " + widths.map { String(repeating: "─", count: $0 - 2) }.joined(separator: "  "))
        for (number, step) in steps.enumerated() {
            let indent = widths[..<step.strand].reduce(0, +)
            lines.append(
                Violation.pad("\(number + 1)", to: 5) + String(repeating: " ", count: indent) + step.text
            )
        }
        return lines.map { String($0.reversed().drop { $0 == " " }.reversed()) }.joined(separator: "\n")
    }

    private static func pad(_ text: String, to width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }
}

extension Violation: CustomStringConvertible {
    /// The rule, the table and the recipe.
    public var description: String {
        "\(text)\n\n\(listing)\n\nrepeat it with: \(recipe)"
    }
}
