// SPDX-License-Identifier: MIT

import Foundation
import XenChannelIO
import XenInterface
import XenStore

/// The store: called directly, and over a socket against the real xenstored where there is one.
enum StoreBenchmarks {
    static func run(in suite: Suite) throws {
        guard suite.wants("store/") else { return }
        direct(suite)
    }

    private static func direct(_ suite: Suite) {
        let nodes = 100_000
        var store = StoreServer()
        let connection = store.connect(as: .dom0)
        var outputs: [StoreOutput] = []
        let before = memory()
        let paths = (0..<nodes).compactMap { StorePath("/local/domain/\($0 / 100)/data/key\($0 % 100)") }
        for path in paths { store.perform(.write(path, "value"), on: connection, into: &outputs) }
        suite.add(
            Measurement(
                name: "store/direct/bytes a small node, paths of the caller included",
                value: Double(memory() - before) / Double(nodes),
                unit: "B"
            )
        )
        for index in 0..<100 {
            store.perform(.watch(paths[index * 1000], token: "t"), on: connection, into: &outputs)
        }
        let count = suite.isQuick ? 100_000 : 400_000
        var next = 0
        func each(_ request: (StorePath) -> StoreRequest) -> Double {
            let time = seconds {
                for _ in 0..<count {
                    next = (next &+ 7919) % nodes
                    store.perform(request(paths[next]), on: connection, into: &outputs)
                    if outputs.count > 1000 { outputs.removeAll(keepingCapacity: true) }
                }
            }
            return Double(count) / time / 1e6
        }
        suite.measure("store/direct/read, 100,000 nodes", unit: "M/s", goal: .atLeast(1)) { each { .read($0) } }
        suite.measure("store/direct/write, 100,000 nodes", unit: "M/s", goal: .atLeast(1)) {
            each { .write($0, "other") }
        }
    }

    private static func memory() -> Int {
        let text = (try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8)) ?? ""
        return (text.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0) * 4096
    }
}
