// SPDX-License-Identifier: MIT

import Foundation

/// What a run prints, saves and compares.
struct Report {
    let measurements: [Measurement]

    /// The table: ratios first, then the figures, then the goals.
    var text: String {
        let width = measurements.map(\.name.count).max() ?? 0
        let lines = measurements.map { row in
            let name = row.name.padding(toLength: width, withPad: " ", startingAt: 0)
            let ratio = row.ratio.map { String(format: "%8.3f x", $0) } ?? "          "
            let value = "\(String(format: "%12.2f", row.value)) \(row.unit)"
                .padding(toLength: 24, withPad: " ", startingAt: 0)
            let peer = row.peer.map { "against \($0)" } ?? ""
            let goal = row.goal.map { "   goal \($0) \(row.met == true ? "met" : "NOT MET")" } ?? ""
            let noise = row.spread.map { $0 > 0.3 ? "   (noisy: \(Int($0 * 100)) % between the rounds)" : "" } ?? ""
            return "\(name)  \(ratio)  \(value) \(peer)\(goal)\(noise)"
        }
        return lines.joined(separator: "\n")
    }

    /// The paired ratios as bars; the peer is the line at 1.
    var chart: String {
        let rows = measurements.filter { $0.ratio != nil }
        let width = rows.map(\.name.count).max() ?? 0
        return rows.map { row in
            let ratio = row.ratio ?? 0
            let length = Int((min(ratio, 4) * 12).rounded())
            let name = row.name.padding(toLength: width, withPad: " ", startingAt: 0)
            let bar = String(repeating: "█", count: max(length, 1)) + (ratio > 4 ? "…" : "")
            return "\(name) \(bar) \(String(format: "%.2f", ratio)) of \(row.peer ?? "")"
        }.joined(separator: "\n")
    }

    var json: Data {
        get throws {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
            return try encoder.encode(measurements)
        }
    }

    /// What got worse than in an earlier run by more than noise explains: a quarter, or twice as much as lies between the
    /// rounds of this run, or a fiftieth where instructions are counted; in a paired ratio where there is one.
    func regressions(since earlier: [Measurement]) -> [String] {
        measurements.compactMap { row in
            guard let before = earlier.first(where: { $0.name == row.name && $0.peer == row.peer }) else { return nil }
            let isMoreBetter = row.goal?.hasPrefix(">=") ?? row.unit.hasSuffix("/s")
            let (new, old) =
                row.ratio != nil && before.ratio != nil ? (row.ratio, before.ratio) : (row.value, before.value)
            guard let new, let old, old > 0 else { return nil }
            let change = isMoreBetter ? old / new : new / old
            let noise = row.unit == "instr" ? 0.02 : max(0.25, 2 * (row.spread ?? 0))
            guard change > 1 + noise else { return nil }
            let peer = row.peer.map { " against \($0)" } ?? ""
            return "\(row.name)\(peer): \(String(format: "%.0f", (change - 1) * 100)) % worse than before"
        }
    }

    /// The ratios of one group as a picture.
    func svg() -> String {
        let rows = measurements.filter { $0.ratio != nil }
        let height = rows.count * 22 + 40
        var lines = [
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"900\" height=\"\(height)\" font-family=\"sans-serif\" font-size=\"12\">",
            "<rect width=\"900\" height=\"\(height)\" fill=\"white\"/>",
            "<line x1=\"420\" y1=\"10\" x2=\"420\" y2=\"\(height - 20)\" stroke=\"#888\" stroke-dasharray=\"3\"/>",
            "<text x=\"424\" y=\"\(height - 6)\" fill=\"#555\">the peer</text>",
        ]
        for (index, row) in rows.enumerated() {
            let y = 14 + index * 22
            let length = Int(min(row.ratio ?? 0, 4) * 100)
            let color = row.met == false ? "#c0392b" : "#2a6f97"
            lines.append("<text x=\"310\" y=\"\(y + 12)\" text-anchor=\"end\">\(row.name)</text>")
            lines.append("<rect x=\"320\" y=\"\(y)\" width=\"\(max(length, 1))\" height=\"16\" fill=\"\(color)\"/>")
            let label = String(format: "%.2f", row.ratio ?? 0) + " of " + (row.peer ?? "")
            lines.append("<text x=\"\(326 + length)\" y=\"\(y + 12)\">\(label)</text>")
        }
        return lines.joined(separator: "\n") + "\n</svg>\n"
    }
}
