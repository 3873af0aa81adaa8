// SPDX-License-Identifier: MIT

import Foundation
import TestSupport
import Testing
import XenChannels
import XenInterface

/// The tables of the documentation say what the rows say.
struct PeerTableTests {
    private func lines() throws -> [String] {
        let url = Fixture.root.appending(path: "Sources/XenChannels/XenChannels.docc/Peers.md")
        return try String(contentsOf: url, encoding: .utf8).split(separator: "\n").map(String.init)
    }

    private func states(_ states: Set<XenbusState>?, none: String) -> String {
        guard let states, !states.isEmpty else { return none }
        return states.map(\.rawValue).sorted().map(String.init).joined(separator: " ")
    }

    private func written(_ steps: [PeerStep]) -> String {
        let states = steps.compactMap { step -> XenbusState? in
            if case .state(let state) = step { return state }
            if case .switchState(let state) = step { return state }
            return nil
        }
        return states.isEmpty ? "-" : states.map { "\($0.rawValue)" }.joined(separator: " ")
    }

    private func text(_ row: FrontendProfile) -> String {
        let cells = [
            row.name, "\(row.finding), \(row.numbering)", row.waitsFor.map { "\($0.rawValue)" } ?? "any state",
            written(row.publication), written(row.confirmation), states(row.leavesAt, none: "-"),
            "\(row.ring.afterProducing), \(row.ring.afterConsuming)", "\(row.ring.full)", "\(row.ring.nonsense)",
        ]
        return "| " + cells.joined(separator: " | ") + " |"
    }

    private func text(_ row: BackendProfile) -> String {
        let cells = [
            row.name, "\(row.service)", states(row.connectsAt, none: "any state"),
            row.rearms ? "takes it up" : "leaves it", "\(row.ring.sink)",
            row.ring.retriesSink ? "at once" : "at the next event", "\(row.ring.full)",
            row.ring.eventsPerPeriod.map(String.init) ?? "all", "\(row.ring.nonsense)",
        ]
        return "| " + cells.joined(separator: " | ") + " |"
    }

    @Test func `every row of a profile is a row of the documentation, and none is there besides`() throws {
        let lines = try lines()
        let rows = FrontendProfile.all.map(text) + BackendProfile.all.map(text)
        for row in rows { #expect(lines.contains(row), "\(row)") }
        let shown = lines.filter { $0.hasPrefix("| ") && !$0.hasPrefix("| frontend |") && !$0.hasPrefix("| backend |") }
        #expect(shown.count == rows.count)
    }
}
