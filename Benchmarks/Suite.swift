// SPDX-License-Identifier: MIT

import Glibc

/// Runs measurements in interleaved rounds, and collects them.
final class Suite {
    let rounds: Int
    /// Divides the work of each round in a quick run.
    let isQuick: Bool
    private let filter: String?
    private let progress: Progress
    private(set) var measurements: [Measurement] = []
    /// What a filter that fits nothing could have meant: the names below the groups that it did fit.
    private(set) var names: [String] = []
    /// Something that was asked for cannot be measured here, and that was said.
    private(set) var hasSkipped = false

    init(filter: String?, isQuick: Bool) {
        self.filter = filter
        self.isQuick = isQuick
        rounds = isQuick ? 10 : 25
        progress = Progress()
    }

    /// Whether a group of measurements was asked for.
    ///
    /// A group's name ends with a slash, and is wanted as well by a filter that goes on behind it.
    func wants(_ name: String) -> Bool {
        guard let filter else { return true }
        if name.contains(filter) || (name.hasSuffix("/") && filter.hasPrefix(name)) { return true }
        if !name.hasSuffix("/"), !names.contains(name) { names.append(name) }
        return false
    }

    /// Says why something that was asked for is not measured.
    func skip(_ name: String, _ reason: String) {
        progress.clear()
        Main.say("\(name): not measured: \(reason)")
        hasSkipped = true
    }

    func add(_ measurement: Measurement) {
        progress.clear()
        measurements.append(measurement)
    }

    /// A figure without a peer.
    func measure(_ name: String, unit: String, goal: Goal? = nil, _ body: () -> Double) {
        guard wants(name) else { return }
        let values = (0..<rounds).map { round in
            progress.show("\(name) \(round + 1)/\(rounds)")
            return body()
        }
        var measurement = Measurement(name, values.median, unit, goal: goal)
        measurement.spread = values.spread
        add(measurement)
    }

    /// Ours against others, round by round: each body returns its figure, and the ratio is ours to the peer's.
    ///
    /// One round of each is thrown away first, and each round has its own order.
    func compare(
        _ name: String,
        unit: String,
        ours: () -> Double,
        peers: [(name: String, goal: Goal?, body: () -> Double)]
    ) {
        guard wants(name) else { return }
        _ = ours()
        for peer in peers { _ = peer.body() }
        var own: [Double] = []
        var others = [[Double]](repeating: [], count: peers.count)
        for round in 0..<rounds {
            progress.show("\(name) \(round + 1)/\(rounds)")
            // In another order each round: who comes after whom must not matter. Threads that sleep are woken half as fast after a run with
            // terminals as after one without.
            for index in (-1..<peers.count).shuffled() {
                if index < 0 { own.append(ours()) } else { others[index].append(peers[index].body()) }
            }
        }
        let value = own.median
        if peers.isEmpty { add(Measurement(name: name, value: value, unit: unit, spread: own.spread)) }
        for (index, peer) in peers.enumerated() {
            let ratios = zip(own, others[index]).map { $0 / $1 }
            let ratio = ratios.median
            add(
                Measurement(
                    name: name,
                    value: value,
                    unit: unit,
                    ratio: ratio,
                    peer: peer.name,
                    goal: peer.goal?.text,
                    met: peer.goal?.isMet(by: ratio),
                    spread: ratios.spread
                )
            )
        }
    }
}

/// A line on standard error that says what is being done, if that is a terminal.
final class Progress {
    private let isShown = isatty(2) == 1

    func show(_ text: String) {
        if isShown { write("\r\u{1B}[K" + text) }
    }

    func clear() {
        if isShown { write("\r\u{1B}[K") }
    }

    private func write(_ text: String) {
        var text = text
        _ = text.withUTF8 { unsafe Glibc.write(2, $0.baseAddress, $0.count) }
    }
}

/// Seconds of the monotonic clock that `body` takes.
func seconds(_ body: () -> Void) -> Double {
    let start = nanoseconds()
    body()
    return Double(nanoseconds() - start) / 1e9
}

func nanoseconds() -> UInt64 {
    var time = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

/// Keeps the optimizer from throwing a result away.
@inline(never)
func keep<T>(_ value: T) {}
