// SPDX-License-Identifier: MIT

import Testing
import XenBus
import XenChannels
import XenExploration
import XenInterface

@testable import XenSimulator

/// Which bytes the backends of others throw away when their reader does not read (A27): what is left is compared with their own code, for
/// positions in place of bytes.
struct PeerDropTests {
    private static let limit = 4000
    private static let total = 60_000

    /// What a backend has left of `positions`, when more than `limit` wait.
    private func left(of positions: [Int], limit: Int, in name: String) -> [Int] {
        switch name {
        // `buffer_append` of xenconsoled with `--overflow-data=discard`.
        case "xenconsoled, discard":
            guard positions.count > limit + limit / 4 else { return positions }
            return Array(positions[..<(limit / 2)] + positions[limit...])
        // krata's queue takes no more than it has room for.
        case "krata":
            return Array(positions.prefix(limit))
        // `buffer_append` of QEMU: what is too much is written over what stands right before the end.
        default:
            let excess = positions.count - limit
            guard excess > 0 else { return positions }
            var buffer = positions
            for index in 0..<excess { buffer[limit - excess + index] = positions[limit + index] }
            return Array(buffer[..<limit])
        }
    }

    @Test(arguments: ["QEMU", "QEMU 7.2", "xenconsoled, discard", "krata"])
    func `what others' backends throw away is what their own code does, to the byte`(name: String) throws {
        let row = try #require(BackendProfile.all.first { $0.name == name })
        var plan = ChannelPlan("org.example.log", agent: .send(PeerDropTests.total), client: .listen)
        plan.limit = PeerDropTests.limit
        let isDaemon = row.service == .primaryConsoles
        let simulation = Simulation(Choices(seed: 3), backend: row, tracing: true)
        simulation.addGuest(isDaemon ? [] : [plan], console: isDaemon ? plan : nil)
        while simulation.guests[0].channels.values.first?.client?.pipe == nil, simulation.step() {}
        let (key, record) = try #require(simulation.guests[0].channels.first)
        let (reader, agent) = (try #require(record.client), try #require(record.agent))
        simulation.world.stall(reader.id, for: .seconds(60))
        let end = simulation.now + .seconds(30)
        while simulation.now < end, simulation.step() {}
        #expect(agent.hasSentAll)

        let backend = try #require(record.backend as? PeerDevice)
        // krata does not ask the store.
        let limit = name == "krata" ? row.ring.limit : PeerDropTests.limit
        var (next, kept) = (0, [Int]())
        for entry in try #require(simulation.trace).entries where entry.actor == backend.process.id {
            if let count = number(in: entry.text, between: "takes ", and: " from the ring") {
                kept = left(of: kept + (next..<next + count), limit: limit, in: name)
                next += count
            } else if let count = number(in: entry.text, between: "hands out ", and: "") {
                kept.removeFirst(count)
            }
        }
        #expect(next == PeerDropTests.total && kept.count < next / 2)
        let pattern = BytePattern(UInt64(key.frontend.rawValue) << 33 | UInt64(key.device.rawValue) << 1 | 1)
        var expected: [UInt8] = []
        for position in kept { pattern.withBytes(at: UInt64(position), count: 1) { expected.append($0[0]) } }
        let waiting = backend.traffic.buffer.withBytes { bytes in bytes.indices.map { bytes[$0] } }
        // Without thousands of numbers in the report.
        #expect(waiting.count == expected.count)
        let firstDifference = zip(waiting, expected).enumerated().first { $0.element.0 != $0.element.1 }?.offset
        #expect(firstDifference == nil)
    }

    private func number(in text: String, between start: String, and end: String) -> Int? {
        guard text.hasPrefix(start), text.hasSuffix(end) else { return nil }
        return Int(text.dropFirst(start.count).dropLast(end.count))
    }
}
