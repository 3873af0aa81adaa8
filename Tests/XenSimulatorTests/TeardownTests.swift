// SPDX-License-Identifier: MIT

import Testing
import XenChannels
import XenExploration
import XenSimulator

/// In which order the two sides let go of what they share (B33, F8).
struct TeardownTests {
    /// What each actor did, from traces of worlds in which channels are closed from either side, opened again, and unplugged.
    private func lives() throws -> [[String]] {
        let scenario = Scenario("teardown", "channels come and go") { simulation in
            let guest = simulation.addGuest([.echo, .load])
            simulation.settle()
            simulation.close(number: 1, from: guest)
            simulation.settle()
            simulation.open(number: 1, from: guest)
            simulation.settle()
            simulation.detach(number: 2, from: guest)
            simulation.settle()
        }
        let experiment = try #require(Experiment(scenario, faults: ["closing", "events"]))
        return (0..<10 as Range<UInt64>).flatMap { seed -> [[String]] in
            guard let trace = experiment.run(Choices(seed: seed), tracing: true).trace else { return [] }
            return Dictionary(grouping: trace.entries, by: \.actor).values.map { $0.map(\.text) }
        }
    }

    /// Checks that one of `earlier` was done before each `later`, since `beginning`.
    private func expect(_ earlier: [String], before later: String, since beginning: String) throws {
        var found = 0
        for texts in try lives() {
            var isOpen = false
            for text in texts {
                if text.hasPrefix(beginning) { isOpen = true }
                if earlier.contains(where: { text.hasPrefix($0) }) { isOpen = false }
                guard text.contains(later) else { continue }
                found += 1
                #expect(!isOpen, "'\(text)' comes before \(earlier)")
            }
        }
        #expect(found > 20)
    }

    @Test func `the backend unbinds, unmaps, and says 6 then (F8)`() throws {
        try expect(["closes port"], before: "unmaps grant", since: "binds port")
        try expect(["unmaps grant"], before: "state = \"6\"", since: "maps grant")
    }

    @Test func `the frontend tries to end its grant, and closes its port then (B33)`() throws {
        try expect(["ends grant", "cannot end grant"], before: "closes port", since: "grants page")
    }
}
