// SPDX-License-Identifier: MIT

/// One figure of a run: a row of the table, an object of the JSON.
struct Measurement: Codable, Sendable {
    /// What was measured: `ring/write+read/64`.
    let name: String
    /// The median.
    let value: Double
    let unit: String
    /// Ours divided by the peer's, or the peer's by ours, so that more is better for `goal` as it is written; the median of paired rounds.
    var ratio: Double?
    /// Whom it was measured against, in the same rounds.
    var peer: String?
    /// What the ratio, or the value, should be: `>= 10`, `<= 1.5`.
    var goal: String?
    /// Whether it is.
    var met: Bool?
}

/// What a figure should be.
struct Goal {
    enum Bound {
        case atLeast(Double)
        case atMost(Double)
    }

    let bound: Bound

    static func atLeast(_ value: Double) -> Goal { Goal(bound: .atLeast(value)) }
    static func atMost(_ value: Double) -> Goal { Goal(bound: .atMost(value)) }

    var text: String {
        switch bound {
        case .atLeast(let value): ">= \(value)"
        case .atMost(let value): "<= \(value)"
        }
    }

    func isMet(by value: Double) -> Bool {
        switch bound {
        case .atLeast(let least): value >= least
        case .atMost(let most): value <= most
        }
    }
}

extension [Double] {
    var median: Double {
        let sorted = sorted()
        guard !sorted.isEmpty else { return .nan }
        let middle = sorted.count / 2
        return sorted.count.isMultiple(of: 2) ? (sorted[middle - 1] + sorted[middle]) / 2 : sorted[middle]
    }

    func percentile(_ part: Double) -> Double {
        let sorted = sorted()
        guard !sorted.isEmpty else { return .nan }
        return sorted[Swift.min(sorted.count - 1, Int(Double(sorted.count) * part))]
    }
}
