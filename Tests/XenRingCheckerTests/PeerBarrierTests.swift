// SPDX-License-Identifier: MIT

import Testing
import XenRing
import XenRingChecker

/// The barriers of one end of another implementation, as read in its source (A16).
struct PeerEnd: Sendable, CustomTestStringConvertible {
    let name: String
    let end: RingEnd
    /// Between the loads of the indices and the copy.
    let afterLoad: Barrier
    /// Between the copy and the store of the index.
    let beforeStore: Barrier
    let verdict: Verdict

    enum Verdict: Equatable {
        case right, wrong
        /// Right on every CPU, by the branch between the load of the index and the stores of data; not by a language.
        case rightByControlDependency
    }

    var testDescription: String { "\(name), \(end)" }

    init(_ name: String, _ end: RingEnd, _ afterLoad: Barrier, _ beforeStore: Barrier, _ verdict: Verdict) {
        self.name = name
        self.end = end
        self.afterLoad = afterLoad
        self.beforeStore = beforeStore
        self.verdict = verdict
    }

    static let all = [
        PeerEnd("Linux hvc_xen", .producer, .full, .write, .right),
        PeerEnd("Linux hvc_xen", .consumer, .full, .full, .right),
        PeerEnd("mini-os", .producer, .full, .write, .right),
        PeerEnd("mini-os", .consumer, .full, .full, .right),
        PeerEnd("xenconsoled", .producer, .full, .write, .right),
        PeerEnd("xenconsoled", .consumer, .full, .full, .right),
        PeerEnd("QEMU", .producer, .full, .write, .right),
        PeerEnd("QEMU", .consumer, .full, .full, .right),
        PeerEnd("FreeBSD", .producer, .full, .write, .right),
        PeerEnd("FreeBSD", .consumer, .read, .write, .wrong),
        PeerEnd("NetBSD", .producer, .read, .write, .rightByControlDependency),
        PeerEnd("NetBSD", .consumer, .read, .write, .wrong),
        PeerEnd("Unikraft", .producer, .full, .write, .right),
        PeerEnd("Unikraft", .consumer, .read, .write, .wrong),
        PeerEnd("Xen pv_console", .producer, .read, .write, .rightByControlDependency),
        PeerEnd("Xen pv_console", .consumer, .read, .compiler, .wrong),
        PeerEnd("win-xencons", .producer, .full, .full, .right),
        PeerEnd("win-xencons", .consumer, .full, .full, .right),
        PeerEnd("mirage", .producer, .full, .full, .right),
        PeerEnd("mirage", .consumer, .full, .compiler, .wrong),
        PeerEnd("krata", .producer, .release, .release, .rightByControlDependency),
        PeerEnd("krata", .consumer, .release, .release, .wrong),
    ]
}

/// Each of them over the checker's memory, against the opposite end of this library.
struct PeerBarrierTests {
    @Test(arguments: PeerEnd.all)
    func `the barriers of other implementations`(peer: PeerEnd) throws {
        let plain = Explorer(scenario(peer, dependencies: false)).explore()
        let withDependencies = Explorer(scenario(peer, dependencies: true)).explore()
        switch peer.verdict {
        case .right:
            #expect(plain.isProof, "\(plain.violation.map(\.description) ?? "")")
            #expect(withDependencies.isProof)
        case .rightByControlDependency:
            #expect(try #require(plain.violation).text.contains("data race"))
            #expect(withDependencies.isProof, "\(withDependencies.violation.map(\.description) ?? "")")
        case .wrong:
            #expect(try #require(plain.violation).text.contains("data race"))
            #expect(try #require(withDependencies.violation).text.contains("data race"))
        }
    }

    /// Three operations of three bytes at both ends of four.
    private func scenario(_ peer: PeerEnd, dependencies: Bool) -> Scenario {
        let layout = RingScenarios.layout(capacity: 4)
        var scenario = Scenario(
            "peer",
            summary: "",
            ring: layout,
            start: 0xFFFF_FFFE,
            strands: [
                .init("producer") { memory in
                    peer.end == .producer ? foreignWrites(peer, layout, memory) : ownWrites(layout, memory)
                },
                .init("consumer") { memory in
                    peer.end == .consumer ? foreignReads(peer, layout, memory) : ownReads(layout, memory)
                },
            ]
        )
        scenario.controlDependencies = dependencies
        return scenario
    }
}

private func byte(_ index: UInt32) -> UInt8 { UInt8(truncatingIfNeeded: index &+ 1) }

/// As the C code does it: both indices read from the page, a barrier, bytes, a barrier, the index.
private func foreignWrites(_ peer: PeerEnd, _ layout: RingLayout, _ memory: CheckedMemory) {
    for _ in 0..<3 where !memory.isOver {
        let consumer = memory.load(at: layout.consumerIndex, .relaxed)
        let producer = memory.load(at: layout.producerIndex, .relaxed)
        memory.barrier(peer.afterLoad)
        let count = memory.isOver ? 0 : min(3, Int(layout.capacity &- (producer &- consumer)))
        guard count > 0 else { continue }
        for index in (0..<UInt32(count)).map({ producer &+ $0 }) {
            memory.write([byte(index)], at: layout.data + Int(index % layout.capacity))
        }
        memory.barrier(peer.beforeStore)
        memory.store(producer &+ UInt32(count), at: layout.producerIndex, .relaxed)
    }
}

private func foreignReads(_ peer: PeerEnd, _ layout: RingLayout, _ memory: CheckedMemory) {
    for _ in 0..<3 where !memory.isOver {
        let consumer = memory.load(at: layout.consumerIndex, .relaxed)
        let producer = memory.load(at: layout.producerIndex, .relaxed)
        memory.barrier(peer.afterLoad)
        let count = memory.isOver ? 0 : min(3, Int(producer &- consumer))
        guard count > 0 else { continue }
        for index in (0..<UInt32(count)).map({ consumer &+ $0 }) {
            let found = memory.read(1, at: layout.data + Int(index % layout.capacity))
            memory.expect(found == [byte(index)], "read \(found) at \(index)")
        }
        memory.barrier(peer.beforeStore)
        memory.store(consumer &+ UInt32(count), at: layout.consumerIndex, .relaxed)
    }
}

private func ownWrites(_ layout: RingLayout, _ memory: CheckedMemory) {
    guard var producer = try? RingProducer(attaching: memory, layout: layout) else { return }
    for _ in 0..<3 where !memory.isOver {
        let bytes = (0..<3).map { byte(producer.index.rawValue &+ UInt32($0)) }
        _ = try? producer.write(bytes.span)
    }
}

private func ownReads(_ layout: RingLayout, _ memory: CheckedMemory) {
    guard var consumer = try? RingConsumer(attaching: memory, layout: layout) else { return }
    for _ in 0..<3 where !memory.isOver {
        let start = consumer.index.rawValue
        var buffer: [UInt8] = [0, 0, 0]
        var span = buffer.mutableSpan
        let count = (try? consumer.read(into: &span)) ?? 0
        let expected = (0..<3).map { byte(start &+ UInt32($0)) }
        memory.expect(buffer.prefix(count) == expected.prefix(count), "read \(buffer) at \(start)")
    }
}
