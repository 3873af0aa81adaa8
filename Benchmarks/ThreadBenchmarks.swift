// SPDX-License-Identifier: MIT

import Foundation

/// The ring between two threads, against the ways of the system.
enum ThreadBenchmarks {
    static func run(in suite: Suite) throws {
        guard suite.wants("threads/") else { return }
        verify("the ring between two threads") {
            for kind in [Bell.Kind.adaptive, .spinning, .blocking, .event] { RingPair(kind).verify() }
        }
        let total = suite.isQuick ? 4_000_000 : 16_000_000
        for chunk in [64, 512, 1024, 2048] {
            let goal: Goal = chunk < 2048 ? .atLeast(2) : .atLeast(1)
            var sleeps: [Double] = []
            suite.compare(
                "threads/stream/\(chunk)",
                unit: "MB/s",
                ours: {
                    let before = wakeUps()
                    let rate = ring(.adaptive, total, chunk)
                    sleeps.append(Double(wakeUps() - before) / Double(total) * 1e6)
                    return rate
                },
                peers: [
                    ("pipe", goal, { rate(total, Stream.pipe().stream(total, chunk)) }),
                    ("socketpair", nil, { rate(total, Stream.socketpair().stream(total, chunk)) }),
                    ("pty", nil, { rate(total / 8, Stream.pty().stream(total / 8, chunk)) }),
                    ("the ring, spinning", nil, { ring(.spinning, total, chunk) }),
                    ("the ring, blocking", nil, { ring(.blocking, total / 8, chunk) }),
                ]
            )
            if !sleeps.isEmpty { suite.add(Measurement("threads/sleeps a MB/\(chunk)", sleeps.median, "1/MB")) }
            // What a peer costs that must be sent an event each time: no goal, since a page of 2 KiB bounds it in any language.
            let pair = RingPair(.event)
            suite.compare(
                "threads/stream, an event each time/\(chunk)",
                unit: "MB/s",
                ours: { rate(total / 8, pair.stream(total / 8, chunk)) },
                peers: [("pipe", nil, { rate(total / 8, Stream.pipe().stream(total / 8, chunk)) })]
            )
            if pair.bytesStreamed > 0 {
                let events = Double(pair.eventCount) / Double(pair.bytesStreamed) * 1e6
                suite.add(Measurement("threads/events a MB, an event each time/\(chunk)", events, "1/MB"))
            }
        }
        let trips = suite.isQuick ? 4000 : 10_000
        for (name, kind, goal) in [
            ("blocking", Bell.Kind.blocking, Goal.atMost(1.1)), ("adaptive", .adaptive, nil),
            ("spinning", .spinning, nil),
        ] {
            suite.compare(
                "threads/round trip, \(name)",
                unit: "us",
                ours: { RingPair(kind).roundTrips(trips) / Double(trips) * 1e6 },
                peers: [
                    ("pipe", goal, { Stream.pipe().roundTrips(trips) / Double(trips) * 1e6 }),
                    ("socketpair", nil, { Stream.socketpair().roundTrips(trips) / Double(trips) * 1e6 }),
                    ("pty", nil, { Stream.pty().roundTrips(trips) / Double(trips) * 1e6 }),
                ]
            )
        }
    }

    private static func ring(_ kind: Bell.Kind, _ total: Int, _ chunk: Int) -> Double {
        rate(total, RingPair(kind).stream(total, chunk))
    }

    private static func rate(_ bytes: Int, _ seconds: Double) -> Double {
        Double(bytes) / seconds / 1e6
    }
}

/// Runs two bodies at once and returns how long both took.
func together(_ first: @escaping @Sendable () -> Void, _ second: () -> Void) -> Double {
    let done = DispatchSemaphore(value: 0)
    let thread = Thread {
        first()
        done.signal()
    }
    return seconds {
        thread.start()
        second()
        done.wait()
    }
}
