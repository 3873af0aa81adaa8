// SPDX-License-Identifier: MIT

import Foundation
import Glibc
import XenChannelIO

/// The whole path: a client on a socket or at a terminal, the backend, the ring, an agent that echoes, and back.
enum PathBenchmarks {
    static func run(in suite: Suite) throws {
        guard suite.wants("path/") else { return }
        InstructionBenchmarks.runPath(in: suite)
        let plain = EchoServer()
        defer { plain.stop() }
        try measure(
            suite,
            "path/socket",
            kind: .socket,
            peer: "a plain echo server",
            open: { Client($0) },
            goals: (.atLeast(0.7), .atMost(1.5)),
            plain: plain.path
        )
        let terminal = EchoServer(terminal: ())
        try measure(
            suite,
            "path/pty",
            kind: .terminal,
            peer: "a plain echo behind a pty",
            open: { Client(terminal: $0) },
            goals: (nil, nil),
            plain: terminal.path
        )
    }

    static let word = "--echo"

    /// What this program does when it is counted: `--echo PIECE COUNT`. False if it is not asked to.
    static func runIfCounted(_ words: [String]) throws -> Bool {
        guard words.count == 3, words[0] == word, let piece = Int(words[1]), let count = Int(words[2]) else {
            return false
        }
        try Scratch.open()
        defer { Scratch.close() }
        let world = try World(channels: 1)
        let client = Client(world.path(0))
        // One piece of memory for all rounds: `Client.receive` makes one each time, and that would be counted.
        var bytes = [UInt8](repeating: 7, count: piece)
        for _ in 0..<count {
            insist(unsafe write(client.descriptor, bytes, piece) == piece, "the server takes bytes")
            var left = piece
            while left > 0 {
                let got = unsafe read(client.descriptor, &bytes, left)
                insist(got > 0, "the server gives the bytes back")
                left -= got
            }
        }
        world.stop()
        return true
    }

    private static func measure(
        _ suite: Suite,
        _ name: String,
        kind: World.Kind,
        peer: String,
        open: @escaping (String) -> Client,
        goals: (rate: Goal?, trip: Goal?),
        plain: String
    ) throws {
        let one = try World(channels: 1, kind: kind)
        let two = try World(channels: 1, kind: kind, onTwoThreads: true)
        defer { two.stop() }
        verify(name) {
            for path in [one.path(0), two.path(0), plain] { open(path).verify() }
        }
        // A terminal takes no more than it can hold, and is slow: less goes through it.
        let bytes = 20_000_000 / (kind == .terminal ? 8 : 1)
        suite.compare(
            "\(name)/throughput",
            unit: "MB/s",
            ours: { rate(open(one.path(0)), bytes) },
            peers: [
                (peer, goals.rate, { rate(open(plain), bytes) }),
                ("the agent in a thread of its own", nil, { rate(open(two.path(0)), bytes) }),
            ]
        )
        let trips = suite.isQuick ? 500 : 10_000
        for (part, share) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
            suite.compare(
                "\(name)/round trip \(part)",
                unit: "us",
                ours: { trip(open(one.path(0)), trips, share) },
                peers: [
                    (peer, share == 0.5 ? goals.trip : nil, { trip(open(plain), trips, share) }),
                    ("the agent in a thread of its own", nil, { trip(open(two.path(0)), trips, share) }),
                ]
            )
        }
        one.stop()
        try events(suite, name, kind: kind, open: open, bytes)
    }

    /// What a stream costs in events, in a world of its own: round trips would be counted as well.
    private static func events(
        _ suite: Suite,
        _ name: String,
        kind: World.Kind,
        open: (String) -> Client,
        _ bytes: Int
    ) throws {
        guard suite.wants("\(name)/events") else { return }
        let world = try World(channels: 1, kind: kind)
        _ = rate(open(world.path(0)), bytes)
        let moved = world.stop()
        let megabytes = Double(moved.bytesReceived) / 1e6
        suite.add(Measurement("\(name)/events of the backend a MB", Double(moved.eventsSent) / megabytes, "1/MB"))
        suite.add(Measurement("\(name)/events spared a MB", Double(moved.eventsSpared) / megabytes, "1/MB"))
    }

    /// MB/s of an echo, both directions at once, counted once.
    private static func rate(_ client: Client, _ bytes: Int) -> Double {
        let seconds = together({ client.send(bytes) }, { client.receive(bytes) })
        return Double(bytes) / seconds / 1e6
    }

    private static func trip(_ client: Client, _ count: Int, _ part: Double) -> Double {
        (0..<count).map { _ in
            let start = nanoseconds()
            client.send(64)
            client.receive(64)
            return Double(nanoseconds() - start) / 1000
        }.percentile(part)
    }
}
