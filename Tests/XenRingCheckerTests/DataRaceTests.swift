// SPDX-License-Identifier: MIT

import Testing
import XenRingChecker

/// Plain bytes: a race is whatever nothing orders.
struct DataRaceTests {
    private func isRace(
        dependencies: Bool = false,
        _ bodies: (@Sendable (CheckedMemory) -> Void)...
    ) -> Bool {
        var scenario = Scenario(
            "bytes",
            summary: "",
            locations: [.init(0, "x")],
            data: 64..<68,
            strands: bodies.enumerated().map { Scenario.Strand("T\($0)", body: $1) }
        )
        scenario.controlDependencies = dependencies
        let report = Explorer(scenario).explore()
        #expect(report.isProof || report.violation?.text.contains("data race") == true)
        return report.violation != nil
    }

    @Test func `two strands on one byte, unordered`() {
        let writing = isRace({ $0.write([1], at: 64) }, { $0.write([2], at: 64) })
        let readingToo = isRace({ $0.write([1], at: 64) }, { _ = $0.read(1, at: 64) })
        let reading = isRace({ _ = $0.read(1, at: 64) }, { _ = $0.read(1, at: 64) })
        let apart = isRace({ $0.write([1, 2], at: 64) }, { $0.write([1, 2], at: 66) })
        #expect([writing, readingToo, reading, apart] == [true, true, false, false])
    }

    @Test(arguments: [
        (Barrier.release, Barrier.acquire, false, false), (.write, .read, false, false), (.full, .full, false, false),
        (.compiler, .full, true, true), (.full, .compiler, true, true), (.read, .acquire, true, true),
    ])
    func `a byte that is handed over to be read`(writer: Barrier, reader: Barrier, race: Bool, withDependency: Bool) {
        for dependencies in [false, true] {
            let found = isRace(
                dependencies: dependencies,
                { memory in
                    memory.write([1], at: 64)
                    memory.barrier(writer)
                    memory.store(1, at: 0, .relaxed)
                },
                { memory in
                    guard memory.load(at: 0, .relaxed) == 1 else { return }
                    memory.barrier(reader)
                    memory.expect(memory.read(1, at: 64) == [1], "stale")
                }
            )
            #expect(found == (dependencies ? withDependency : race))
        }
    }

    @Test(arguments: [
        (Barrier.release, Barrier.acquire, false, false), (.full, .full, false, false),
        // The loads before the store are not held back by a write barrier.
        (.write, .acquire, true, true), (.compiler, .full, true, true),
        // The stores behind the load are held back by the branch alone.
        (.full, .read, true, false), (.full, .compiler, true, false),
    ])
    func `a byte that is given back to be written`(reader: Barrier, writer: Barrier, race: Bool, withDependency: Bool) {
        for dependencies in [false, true] {
            let found = isRace(
                dependencies: dependencies,
                { memory in
                    _ = memory.read(1, at: 64)
                    memory.barrier(reader)
                    memory.store(1, at: 0, .relaxed)
                },
                { memory in
                    guard memory.load(at: 0, .relaxed) == 1 else { return }
                    memory.barrier(writer)
                    memory.write([1], at: 64)
                }
            )
            #expect(found == (dependencies ? withDependency : race))
        }
    }
}
