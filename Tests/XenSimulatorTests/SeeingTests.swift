// SPDX-License-Identifier: MIT

import Testing
import XenExploration
import XenSimulator

struct SeeingTests {
    private func trace(seed: UInt64 = 0) throws -> Trace {
        let experiment = try #require(Experiment(.boot))
        return try #require(experiment.run(Choices(seed: seed), tracing: true).trace)
    }

    @Test func `a trace has a line for each thing done, in the column of its actor`() throws {
        let trace = try trace()
        let lines = trace.lines()
        #expect(lines.count == trace.entries.count + 1)
        #expect(lines[0].hasPrefix("step   ms      toolstack   backend"))
        let watch = try #require(lines.first { $0.contains("watch /local/domain/0/backend/console") })
        #expect(watch.firstRange(of: "watch")?.lowerBound == watch.index(watch.startIndex, offsetBy: 15 + 12))
    }

    @Test func `a difference shows what is shared and where the runs part`() throws {
        let left = try trace(seed: 1)
        let right = try trace(seed: 2)
        #expect(Trace.difference(left, left) == nil)
        let difference = try #require(Trace.difference(left, right))
        #expect(difference.contains { $0.hasPrefix("- ") } && difference.contains { $0.hasPrefix("+ ") })
    }

    @Test func `a diagram draws arrows between the lines of life`() throws {
        let diagram = SequenceDiagram(try trace())
        let lines = diagram.lines()
        #expect(lines.contains { $0.contains("├") && $0.contains("▶") })
        #expect(lines.contains { $0.contains("◀") })
        let svg = diagram.svg()
        #expect(svg.hasPrefix("<svg ") && svg.hasSuffix("</svg>\n"))
        #expect(!svg.contains("\"org.example"))
    }
}
