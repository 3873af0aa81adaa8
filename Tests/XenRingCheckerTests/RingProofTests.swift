// SPDX-License-Identifier: MIT

import Testing
import XenExploration
import XenRing
import XenRingChecker

struct RingProofTests {
    /// Made once for all tests that look at it.
    static let report = OrderingReport.make(scope: .small)

    @Test(arguments: OrderingReport.scenarios(.small))
    func `the ring as it ships holds in every execution`(scenario: Scenario) throws {
        let report = try #require(RingProofTests.report.proofs.first { $0.scenario == scenario.name })
        #expect(report.isProof, "\(scenario.name): \(report.violation.map(\.description) ?? "not finished")")
        #expect(report.executions > 0 && report.states > report.executions)
        // A scenario in which the ring is never full proves little; two do without.
        if !scenario.name.hasPrefix("hostile"), scenario.name != "farewell" {
            #expect(report.highWater == scenario.layout?.capacity, "\(scenario.name)")
        }
    }

    @Test func `five writes and five reads on four bytes`() {
        let report = Explorer(RingScenarios.plain(writes: 5, reads: 5)).explore()
        #expect(report.isProof)
        #expect(report.executions == 2263)
    }

    @Test(arguments: OrderingPoint.allCases)
    func `no ordering can be left out`(point: OrderingPoint) throws {
        let row = try #require(RingProofTests.report.rows.first { $0.point == point })
        let violation = try #require(row.violation, "\(point) is not needed")
        #expect(violation.recipe.description.contains("-\(point.rawValue):"))
        // The recipe repeats it, in the same words.
        let again = try OrderingReport.replay(Recipe(parsing: violation.recipe.description))
        #expect(again?.listing == violation.listing)
    }

    @Test func `the table names every ordering and what breaks without it`() {
        let report = RingProofTests.report
        #expect(report.holds)
        let lines = report.table.split(separator: "\n")
        #expect(lines.count == 2 + OrderingPoint.allCases.count)
        #expect(lines.dropFirst(2).allSatisfy { !$0.contains("nothing breaks") })
        #expect(report.proofTable.split(separator: "\n").dropFirst(2).allSatisfy { $0.hasSuffix("| holds |") })
    }

    /// The skip of `needsNotification()` is right without a fence: an index that equals the own one was stored after
    /// it was seen.
    @Test func `the notification of any peer needs no fence`() {
        let weakened = RingScenarios.onceAnEvent(writes: 2).weakened(Weakening([.producerFence, .consumerFence]))
        #expect(Explorer(weakened).explore().isProof)
    }

    /// Neither of the reasons that look as good is one (A17).
    @Test(arguments: [true, false])
    func `notifying only when the ring was empty, or only when it was not, loses a wake-up`(ifEmpty: Bool) throws {
        let layout = RingScenarios.layout(capacity: 4)
        let bytes = ifEmpty ? 2 : 1
        let scenario = Scenario(
            "wrong-rule",
            summary: "",
            ring: layout,
            start: 0,
            strands: [
                .init("producer") { memory in
                    var producer = RingProducer(fresh: memory, layout: layout)
                    for _ in 0..<bytes where !memory.isOver {
                        let before = producer.index.rawValue
                        _ = try? producer.write([1].span)
                        memory.barrier(.full)
                        let wasEmpty = memory.load(at: layout.consumerIndex, .relaxed) == before
                        if wasEmpty == ifEmpty { memory.notify(1) }
                    }
                },
                .init("consumer") { memory in
                    var consumer = RingConsumer(fresh: memory, layout: layout)
                    var received = 0
                    while received < bytes, !memory.isOver {
                        memory.wait()
                        var byte: [UInt8] = [0, 0]
                        var span = byte.mutableSpan
                        received += (try? consumer.read(into: &span)) ?? 0
                    }
                },
            ]
        )
        let violation = try #require(Explorer(scenario).explore().violation)
        #expect(violation.text == "consumer: sleeps for ever, nobody will notify it")
    }
}

struct CrashTests {
    @Test func `a strand crashes before each of its accesses, once, and starts again`() {
        let scenario = Scenario(
            "crash",
            summary: "",
            locations: [.init(0, "x")],
            strands: [
                .init("it", mayCrash: true) { memory in
                    for value in 1...3 { memory.store(UInt32(value), at: 0, .relaxed) }
                    guard memory.restarted() else { return memory.observe(99) }
                    memory.observe(memory.load(at: 0, .relaxed))
                    // Only once: this is not lost.
                    memory.store(7, at: 0, .relaxed)
                    memory.observe(memory.load(at: 0, .relaxed))
                }
            ]
        )
        #expect(Explorer(scenario).explore().outcomes == [[0, 7], [1, 7], [2, 7], [99]])
    }

    /// Taking bytes before they are handed over loses them in a crash; the scenario of the restart must be able to
    /// tell.
    @Test func `a consumer that takes before it delivers loses bytes`() throws {
        let layout = RingScenarios.layout(capacity: 4)
        let scenario = Scenario(
            "forgetful",
            summary: "",
            ring: layout,
            start: 0,
            strands: [
                .init("consumer", mayCrash: true) { memory in
                    var delivered: UInt32 = 0
                    for _ in 0..<2 {
                        guard var consumer = try? RingConsumer(attaching: memory, layout: layout) else { continue }
                        if !memory.isDown { memory.expect(consumer.index.rawValue == delivered, "bytes are lost") }
                        var byte: [UInt8] = [0]
                        var span = byte.mutableSpan
                        let count = (try? consumer.read(into: &span)) ?? 0
                        // An access between taking and delivering, where it can crash.
                        _ = memory.load(at: layout.producerIndex, .relaxed)
                        if !memory.isDown { delivered += UInt32(count) }
                        if !memory.restarted() { return }
                    }
                },
                .init("producer") { memory in
                    var producer = RingProducer(fresh: memory, layout: layout)
                    _ = try? producer.write([1].span)
                },
            ]
        )
        #expect(try #require(Explorer(scenario).explore().violation).text == "consumer: bytes are lost")
    }
}

struct ViolationTests {
    @Test func `a violation is a table of two columns and a recipe`() throws {
        let scenario = RingScenarios.plain(writes: 2, reads: 2).weakened(Weakening([.producerStore]))
        let violation = try #require(Explorer(scenario).explore().violation)
        #expect(violation.text == "consumer: data race: byte 2 is read while producer may still write it")
        let lines = violation.listing.split(separator: "\n")
        #expect(lines[0].contains("producer") && lines[0].contains("consumer"))
        let start = try #require(lines[0].firstRange(of: "consumer")?.lowerBound)
        let column = lines[0].distance(from: lines[0].startIndex, to: start)
        #expect(lines.contains { $0.contains("store prod relaxed") })
        let last = try #require(lines.last { $0.contains("**") })
        #expect(last.prefix(column).dropFirst(5).allSatisfy { $0 == " " })
        #expect(last.dropFirst(column).first == "*")
        #expect(violation.description.hasSuffix("repeat it with: \(violation.recipe)"))
    }

    @Test func `a recipe of another scenario is refused`() throws {
        let weak = RingScenarios.plain(writes: 2, reads: 2).weakened(Weakening([.producerStore]))
        let recipe = try #require(Explorer(weak).explore().violation?.recipe)
        #expect(throws: RecipeError.self) { try Explorer(RingScenarios.plain(writes: 2, reads: 2)).replay(recipe) }
        #expect(throws: RecipeError.self) {
            try OrderingReport.replay(Recipe(label: "unknown", source: .values([])))
        }
        let cut = Recipe(label: recipe.label, source: .values([9, 9, 9]))
        #expect(throws: RecipeError.self) { try Explorer(weak).replay(cut) }
        let again = try Explorer(weak).replay(recipe)
        #expect(again != nil)
    }

    @Test func `an access outside the ring and an index out of range are found out`() {
        let layout = RingScenarios.layout(capacity: 4)
        func violation(_ body: @escaping @Sendable (CheckedMemory) -> Void) -> String? {
            let strands = [Scenario.Strand("it", body: body)]
            let scenario = Scenario("alone", summary: "", ring: layout, start: 0, strands: strands)
            return Explorer(scenario).explore().violation?.text
        }
        #expect(violation { _ = $0.read(4, at: layout.data) } == nil)
        #expect(violation { _ = $0.read(5, at: layout.data) } == "it: reads bytes 0..<5 of a ring of 4")
        #expect(violation { $0.write([1], at: layout.data + 4) } == "it: writes bytes 4..<5 of a ring of 4")
        #expect(violation { $0.write([1], at: layout.data - 1) } == "it: writes bytes -1..<0 of a ring of 4")
        #expect(violation { $0.store(4, at: layout.producerIndex, .release) } == nil)
        #expect(
            violation { $0.store(5, at: layout.producerIndex, .release) }
                == "it: index out of range: prod 5, cons 0"
        )
        #expect(
            violation { $0.store(1, at: layout.consumerIndex, .release) }
                == "it: index out of range: prod 0, cons 1"
        )
    }

    @Test func `what was observed before a summary is not forgotten`() {
        let scenario = Scenario(
            "summary",
            summary: "",
            locations: [.init(0, "x")],
            strands: [
                .init("it") { memory in
                    memory.observe(UInt32(memory.choose(below: 3)))
                    memory.summarize(1)
                    memory.store(1, at: 0, .relaxed)
                }
            ]
        )
        #expect(Explorer(scenario).explore().outcomes == [[0], [1], [2]])
    }

    @Test func `the search stops at its limit and says so`() {
        let report = Explorer(RingScenarios.plain(writes: 5, reads: 5), stepLimit: 100).explore()
        #expect(!report.isComplete && !report.isProof && report.violation == nil)
        #expect(report.steps == 100)
    }

    @Test func `going into every state again changes the work and nothing else`() {
        for scenario in [
            RingScenarios.plain(writes: 2, reads: 2), RingScenarios.onceAnEvent(writes: 1, chunk: 1),
            RingScenarios.restart(operations: 1, crash: .consumer),
        ] {
            let short = Explorer(scenario).explore()
            let long = Explorer(scenario, revisitsStates: true).explore()
            #expect(short.isProof && long.isProof)
            #expect(short.states == long.states && short.highWater == long.highWater)
            #expect(short.outcomes == long.outcomes)
            #expect(long.executions > short.executions && long.cut == 0)
        }
    }

    @Test func `every outcome of a small shape is reached`() {
        let scenario = Scenario(
            "sb",
            summary: "",
            locations: [.init(0, "x"), .init(4, "y")],
            strands: [
                .init("a") { memory in
                    memory.store(1, at: 0, .relaxed)
                    memory.observe(memory.load(at: 4, .relaxed))
                },
                .init("b") { memory in
                    memory.store(1, at: 4, .relaxed)
                    memory.observe(memory.load(at: 0, .relaxed))
                },
            ]
        )
        let report = Explorer(scenario, revisitsStates: true).explore()
        #expect(report.outcomes == [[0, 0], [0, 1], [1, 0], [1, 1]])
        // Six orders: in two of them only the last load has two values to choose from, in four both loads have.
        #expect(report.executions == 2 * 2 + 4 * 4)
    }
}
