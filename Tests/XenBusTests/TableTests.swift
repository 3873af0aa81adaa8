// SPDX-License-Identifier: MIT

import Foundation
import TestSupport
import Testing
import XenBus
import XenExploration
import XenInterface

/// The tables of the documentation against what the machines do, in all states that random walks reach.
struct TableTests {
    private static let page = Fixture.root.appending(path: "Sources/XenBus/XenBus.docc/Handshakes.md")

    @Test func `the frontend's table says what the machine does`() throws {
        var table = Table(rows: FrontendHandshake.State.allCases.map { "\($0)" }, columns: Self.frontendEvents.map(\.0))
        for seed in 0..<1200 as Range<UInt64> {
            var choices = Choices(seed: seed, recording: false)
            var walk = FrontendWalk()
            for _ in 0..<60 {
                if walk.machine.state != .idle { table.note(walk.machine, Self.frontendEvents) }
                try walk.step(&choices)
            }
        }
        try compare(table, named: "Frontend")
    }

    @Test func `the backend's table says what the machine does`() throws {
        var table = Table(rows: BackendHandshake.State.allCases.map { "\($0)" }, columns: Self.backendEvents.map(\.0))
        for seed in 0..<1200 as Range<UInt64> {
            var choices = Choices(seed: seed, recording: false)
            var walk = BackendWalk()
            for _ in 0..<60 {
                if walk.machine.state != .idle { table.note(walk.machine, Self.backendEvents) }
                try walk.step(&choices)
            }
        }
        try compare(table, named: "Backend")
    }

    private func compare(_ table: Table, named name: String) throws {
        let text = try String(contentsOf: Self.page, encoding: .utf8)
        #expect(text.contains(table.text), "\(name):\n\(table.text)")
    }

    private static let frontendEvents: [(String, FrontendHandshake.Event)] = [
        ("backendChanged", .backendChanged), ("ownChanged", .ownChanged(.other)), ("prepared", .prepared([])),
        ("failed", .failed("no")), ("close", .close), ("removed", .removed), ("released", .released),
        ("timeout", .timeout),
    ]

    private static let backendEvents: [(String, BackendHandshake.Event)] = [
        ("frontendChanged", .frontendChanged), ("ownChanged", .ownChanged(.other)), ("realised", .realised([])),
        ("connected", .connected), ("disconnected", .disconnected),
        ("failed", .failed(DeviceDiagnostic(.root, .service("no")))), ("close", .close), ("timeout", .timeout),
    ]
}

/// For each state and event: acts (`!`), or keeps it for later (`…`), or passes it over (blank); the strongest that was seen.
private struct Table {
    let rows: [String]
    let columns: [String]
    var cells: [[Int]]

    init(rows: [String], columns: [String]) {
        self.rows = rows
        self.columns = columns
        cells = rows.map { _ in columns.map { _ in 0 } }
    }

    mutating func note(_ machine: FrontendHandshake, _ events: [(String, FrontendHandshake.Event)]) {
        for (column, event) in events.enumerated() {
            var copy = machine
            note("\(machine.state)", column, acts: !copy.handle(event.1).isEmpty, isChanged: copy != machine)
        }
    }

    mutating func note(_ machine: BackendHandshake, _ events: [(String, BackendHandshake.Event)]) {
        for (column, event) in events.enumerated() {
            var copy = machine
            note("\(machine.state)", column, acts: !copy.handle(event.1).isEmpty, isChanged: copy != machine)
        }
    }

    private mutating func note(_ state: String, _ column: Int, acts: Bool, isChanged: Bool) {
        guard let row = rows.firstIndex(of: state) else { return }
        cells[row][column] = max(cells[row][column], acts ? 2 : isChanged ? 1 : 0)
    }

    var text: String {
        var lines = ["| state | " + columns.joined(separator: " | ") + " |"]
        lines.append("|---|" + columns.map { _ in "---|" }.joined())
        for (row, name) in rows.enumerated() where name != "idle" {
            lines.append("| \(name) | " + cells[row].map { ["", "later", "acts"][$0] }.joined(separator: " | ") + " |")
        }
        return lines.joined(separator: "\n")
    }
}
