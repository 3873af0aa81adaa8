// SPDX-License-Identifier: MIT

import Foundation
import TestSupport
import Testing
import XenExploration
import XenSimulator

/// The tables of the documentation against the code.
struct DocumentationTests {
    private func rows(below title: String, of page: String) throws -> [[String]] {
        let url = Fixture.root.appending(path: "Sources/\(page)")
        let text = try String(contentsOf: url, encoding: .utf8)
        let section = try #require(text.components(separatedBy: "### \(title)\n").dropFirst().first)
        let table = section.components(separatedBy: "###")[0].split(separator: "\n").filter { $0.hasPrefix("|") }
        return table.map { line in
            line.split(separator: "|", omittingEmptySubsequences: false).dropFirst().dropLast()
                .map { $0.trimmingCharacters(in: .whitespaces) }
        }
    }

    private static let simulation = "XenSimulator/XenSimulator.docc/Simulation.md"

    @Test func `every scenario is documented`() throws {
        let rows = try rows(below: "Scenarios", of: DocumentationTests.simulation).dropFirst(2)
        #expect(Array(rows) == Scenario.all.map { [$0.name, $0.summary] })
    }

    @Test func `every fault is documented, with its groups`() throws {
        let rows = try rows(below: "Faults", of: DocumentationTests.simulation).dropFirst(2)
        #expect(rows.map { $0[0] } == Fault.allCases.map(\.name))
        for row in rows {
            let fault = try #require(Fault.named(row[0])?.first)
            let groups = Fault.groups.filter { $0.name != "all" && $0.faults.contains(fault) }.map(\.name)
            #expect(row[2] == groups.joined(separator: ", "), "\(fault)")
        }
    }

    @Test func `every rule is documented, and has a bug that it finds`() throws {
        let rows = try rows(below: "Rules", of: DocumentationTests.simulation).dropFirst(2)
        #expect(Set(rows.map { $0[2] }) == Set(MutantTests.findings.map(\.word)))
    }

    /// The cells that are not empty, of both tables, and no other.
    @Test func `the pairs that are counted are those of the handshakes' tables`() throws {
        var pairs: [String] = []
        for (machine, title) in [("frontend", "The frontend"), ("backend", "The backend")] {
            let rows = try rows(below: title, of: "XenBus/XenBus.docc/Handshakes.md")
            for row in rows.dropFirst(2) {
                for (event, cell) in zip(rows[0], row).dropFirst() where !cell.isEmpty {
                    pairs.append("\(machine) \(row[0]) \(event)")
                }
            }
        }
        #expect(HandshakeCoverage.pairs.map(\.description) == pairs)
        #expect(HandshakeCoverage.pairCount == pairs.count)
    }

    @Test func `runs with all faults come by most pairs, and say which they miss`() throws {
        let experiment = try #require(Experiment(.mixed, faults: ["all"]))
        var coverage = HandshakeCoverage()
        for seed in 0..<30 as Range<UInt64> { coverage.formUnion(experiment.run(Choices(seed: seed, recording: false)).coverage) }
        #expect(coverage.reachedCount > HandshakeCoverage.pairCount / 3)
        #expect(coverage.reachedCount + coverage.unreached.count == HandshakeCoverage.pairCount)
    }
}
