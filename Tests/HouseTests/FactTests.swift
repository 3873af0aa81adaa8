// SPDX-License-Identifier: MIT

import Foundation
import TestSupport
import Testing

/// Facts of the life cycle and of full rings that no test has to cite, and why.
private let exemptFacts = [
    "A30": "a limit of xenconsoled's process",
    "A33": "a rule for the callers of a ring; its copies are tested under A32",
    "A35": "a list of advisories, each of which has its own facts",
    "B26": "what QEMU's event handler leaves out",
    "B29": "a peer with no profile",
    "B30": "what libxl does not implement",
]

struct FactTests {
    /// A.5, A.6 and B of the protocol notes: a fact that no test cites is a claim that nobody checks.
    @Test func `each fact about full rings, hostile peers and the life cycle is cited by a test`() throws {
        let facts = (26...35).map { "A\($0)" } + (1...36).map { "B\($0)" } + ["B16a"]
        let cited = try citedFacts()
        for fact in facts {
            if exemptFacts[fact] == nil {
                #expect(cited.contains(fact), "no test cites \(fact)")
            } else {
                #expect(!cited.contains(fact), "\(fact) is cited, and needs no exemption")
            }
        }
    }

    private func citedFacts() throws -> Set<String> {
        let tests = Fixture.root.appending(path: "Tests")
        let files = FileManager.default.enumerator(at: tests, includingPropertiesForKeys: nil)
        var facts: Set<String> = []
        while let file = files?.nextObject() as? URL {
            guard file.pathExtension == "swift", file.lastPathComponent != "FactTests.swift" else { continue }
            let text = try String(contentsOf: file, encoding: .utf8)
            for match in text.matches(of: /\b([AB])(\d+)(a?)(?: to \1(\d+))?\b/) {
                guard let first = Int(match.2) else { continue }
                let last = match.4.flatMap { Int($0) } ?? first
                facts.insert("\(match.1)\(first)\(match.3)")
                if first < last { facts.formUnion((first...last).map { "\(match.1)\($0)" }) }
            }
        }
        return facts
    }
}
