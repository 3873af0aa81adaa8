// SPDX-License-Identifier: MIT

/// One figure of a run: a row of the table, an object of the JSON.
struct Measurement: Codable, Sendable {
    /// What was measured: `ring/write+read/64`.
    let name: String
    /// The median.
    let value: Double
    let unit: String
    /// Ours divided by the peer's: the median of paired rounds.
    var ratio: Double?
    /// Whom it was measured against, in the same rounds.
    var peer: String?
    /// What the ratio, or the value, should be: `>= 10`, `<= 1.5`.
    var goal: String?
    /// Whether it is.
    var met: Bool?
    /// How far the rounds lie apart: the middle half of them, in parts of the median; not saved.
    var spread: Double?

    private enum CodingKeys: CodingKey {
        case name, value, unit, ratio, peer, goal, met
    }
}

extension Measurement {
    /// A figure without a peer, held against a goal.
    init(_ name: String, _ value: Double, _ unit: String, goal: Goal? = nil) {
        self.init(name: name, value: value, unit: unit, goal: goal?.text, met: goal?.isMet(by: value))
    }

    /// All keys always, those without a value as null.
    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(name, forKey: .name)
        try container.encode(value, forKey: .value)
        try container.encode(unit, forKey: .unit)
        try container.encode(ratio, forKey: .ratio)
        try container.encode(peer, forKey: .peer)
        try container.encode(goal, forKey: .goal)
        try container.encode(met, forKey: .met)
    }
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

    /// How far the middle half lies apart, in parts of the median.
    var spread: Double { (percentile(0.75) - percentile(0.25)) / Swift.max(median, .leastNonzeroMagnitude) }

    func percentile(_ part: Double) -> Double {
        let sorted = sorted()
        guard !sorted.isEmpty else { return .nan }
        return sorted[Swift.min(sorted.count - 1, Int(Double(sorted.count) * part))]
    }
}
