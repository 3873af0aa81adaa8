// SPDX-License-Identifier: MIT

import Foundation
import Glibc

/// Many channels in one process.
enum ManyBenchmarks {
    static func run(in suite: Suite) throws {
        guard suite.wants("many/") else { return }
        let counts = suite.isQuick ? [1, 100] : [1, 100, 1000]
        var alone = (ours: 0.0, plain: 0.0)
        for count in counts {
            let before = residentBytes()
            let world = try World(channels: count)
            defer { world.stop() }
            suite.add(Measurement("many/\(count)/connect all", world.connectTime * 1000, "ms"))
            let memory = Double(residentBytes() - before) / Double(count) / 1024 - 4
            suite.add(
                Measurement(
                    "many/\(count)/memory a channel beyond its page",
                    memory,
                    "KiB",
                    goal: count == 1000 ? .atMost(16) : nil
                )
            )
            measureIdleness(suite, count)
            // The same clients for all rounds: what one leaves behind would go to the next.
            let clients = (0..<count).map { Client(world.path($0)) }
            verify("many/\(count)") { clients.forEach { $0.verify() } }
            let plain = EchoLoop(clients: count)
            for client in clients + plain.clients { _ = fcntl(client.descriptor, F_SETFL, O_NONBLOCK) }
            var rates: [(total: Double, fairness: Double)] = []
            var plainRates: [Double] = []
            for _ in 0..<(suite.isQuick ? 3 : 10) {
                rates.append(traffic(clients))
                plainRates.append(traffic(plain.clients).total)
            }
            let totals = rates.map(\.total)
            if count == 1 { alone = (totals.median, plainRates.median) }
            let name = "many/\(count)/total throughput"
            let goal = count == 1000 ? Goal.atLeast(0.8) : nil
            add(suite, name, totals, ratio: totals.median / alone.ours, to: "one channel", goal)
            // What the system itself has to give: many sockets cost more than one, whoever serves them.
            let plainName = "many/\(count)/total throughput of a plain echo server"
            add(suite, plainName, plainRates, ratio: plainRates.median / alone.plain, to: "one client", nil)
            let ratio = zip(totals, plainRates).map { $0 / $1 }.median
            add(suite, name, totals, ratio: ratio, to: "a plain echo server", nil)
            suite.add(
                Measurement(
                    "many/\(count)/smallest share in parts of a fair one",
                    rates.map(\.fairness).median,
                    "x",
                    goal: count > 1 ? .atLeast(0.5) : nil
                )
            )
        }
    }

    private static func add(
        _ suite: Suite,
        _ name: String,
        _ rates: [Double],
        ratio: Double,
        to peer: String,
        _ goal: Goal?
    ) {
        suite.add(
            Measurement(
                name: name,
                value: rates.median,
                unit: "MB/s",
                ratio: ratio,
                peer: peer,
                goal: goal?.text,
                met: goal?.isMet(by: ratio),
                spread: rates.spread
            )
        )
    }

    private static func measureIdleness(_ suite: Suite, _ count: Int) {
        usleep(100_000)
        let wakes = wakeUps()
        let time = processorTime { usleep(1_000_000) }
        suite.add(Measurement("many/\(count)/processor time of an idle second", time * 1000, "ms", goal: .atMost(1)))
        // The one who measures wakes up once himself.
        let others = Double(wakeUps() - wakes - 1)
        suite.add(Measurement("many/\(count)/wake-ups in an idle second", others, "1", goal: .atMost(0)))
    }

    /// All channels are offered bytes all the time, 4 KiB at a visit, by one thread that goes round and never waits.
    private static func traffic(_ clients: [Client]) -> (total: Double, fairness: Double) {
        let piece = [UInt8](repeating: 7, count: 4096)
        var bytes = [UInt8](repeating: 0, count: 65_536)
        var received = [Int](repeating: 0, count: clients.count)
        var spent = 0.0
        let start = nanoseconds()
        while spent < 0.3 {
            for (index, client) in clients.enumerated() {
                _ = unsafe write(client.descriptor, piece, piece.count)
                let got = unsafe read(client.descriptor, &bytes, bytes.count)
                if got > 0 { received[index] += got }
            }
            spent = Double(nanoseconds() - start) / 1e9
        }
        let sum = Double(received.reduce(0, +))
        return (sum / spent / 1e6, Double(received.min() ?? 0) / (sum / Double(clients.count)))
    }

    private static func processorTime(_ body: () -> Void) -> Double {
        func now() -> Double {
            var time = timespec()
            unsafe clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
            return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
        }
        let start = now()
        body()
        return now() - start
    }
}
