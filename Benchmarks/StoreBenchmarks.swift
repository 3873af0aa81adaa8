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
        try socket(suite)
    }

    /// The same client and requests over a socket: ours, and a real xenstored that `XENSTORED_PEER` names.
    private static func socket(_ suite: Suite) throws {
        let peer = ProcessInfo.processInfo.environment["XENSTORED_PEER"]
        if peer == nil { Main.say("store/socket: no real xenstored to compare with; XENSTORED_PEER names its socket") }
        let server = try StoreService(path: Scratch.path("store"))
        defer { server.stop() }
        let ours = try StoreCases(server.path)
        let theirs = try peer.map { try StoreCases($0) }
        for (name, body) in StoreCases.all {
            let count = suite.isQuick ? 500 : 2000
            func time(_ cases: StoreCases) -> Double { seconds { body(cases, count) } / Double(count) * 1e6 }
            suite.compare(
                "store/socket/\(name)",
                unit: "us",
                ours: { time(ours) },
                peers: theirs.map { cases in [("xenstored", .atMost(1), { time(cases) })] } ?? []
            )
        }
    }

    private static func direct(_ suite: Suite) {
        let nodes = 100_000
        var store = StoreServer()
        let connection = store.connect(as: .dom0)
        var outputs: [StoreOutput] = []
        let paths = (0..<nodes).compactMap { StorePath("/local/domain/\($0 / 100)/data/key\($0 % 100)") }
        let before = residentBytes()
        for path in paths { store.perform(.write(path, "value"), on: connection, into: &outputs) }
        let perNode = Double(residentBytes() - before) / Double(nodes)
        suite.add(Measurement("store/direct/memory of a small node", perNode, "B", goal: .atMost(200)))
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
        sizes(suite)
        suite.measure("store/direct/read, 100,000 nodes", unit: "M/s", goal: .atLeast(1)) { each { .read($0) } }
        suite.measure("store/direct/write, 100,000 nodes", unit: "M/s", goal: .atLeast(1)) {
            each { .write($0, "other") }
        }
    }

    /// A transaction's and a watch's time in a tree of a hundred times as many nodes: the difference is the memory's, which the
    /// caches hold less of.
    private static func sizes(_ suite: Suite) {
        var small = SizedStore(nodes: 1000)
        var large = SizedStore(nodes: 100_000)
        let count = suite.isQuick ? 200 : 2000
        for (name, body) in SizedStore.cases {
            suite.compare(
                "store/direct/\(name), 100,000 nodes",
                unit: "us",
                ours: { seconds { for _ in 0..<count { body(&large) } } / Double(count) * 1e6 },
                peers: [
                    (
                        "1,000 nodes", .atMost(3),
                        { seconds { for _ in 0..<count { body(&small) } } / Double(count) * 1e6 }
                    )
                ]
            )
        }
    }
}

/// A tree of some size, of which ten nodes at a time are worked on.
struct SizedStore {
    private var store = StoreServer()
    private let connection: StoreConnectionID
    private let paths: [StorePath]
    private var outputs: [StoreOutput] = []
    private var next = 0

    static let cases: [(name: String, body: @Sendable (inout SizedStore) -> Void)] = [
        ("transaction of 10 writes", { $0.transaction() }),
        ("watch and unwatch", { $0.watch() }),
    ]

    init(nodes: Int) {
        connection = store.connect(as: .dom0)
        paths = (0..<nodes).compactMap { StorePath("/local/domain/\($0 / 100)/data/key\($0 % 100)") }
        for path in paths { store.perform(.write(path, "value"), on: connection, into: &outputs) }
    }

    private mutating func step() -> StorePath {
        next = (next &+ 7919) % paths.count
        return paths[next]
    }

    private mutating func transaction() {
        let begun = store.perform(.beginTransaction, on: connection, into: &outputs)
        guard case .transaction(let id) = begun else { refuse("no transaction") }
        for _ in 0..<10 { store.perform(.write(step(), "other"), in: id, on: connection, into: &outputs) }
        let reply = store.perform(.endTransaction(commit: true), in: id, on: connection, into: &outputs)
        insist(reply == .done, "no conflict")
    }

    private mutating func watch() {
        let path = step()
        store.perform(.watch(path, token: "t"), on: connection, into: &outputs)
        store.perform(.unwatch(path, token: "t"), on: connection, into: &outputs)
        outputs.removeAll(keepingCapacity: true)
    }
}

/// What a client asks of a store, again and again.
final class StoreCases {
    private let client: StoreSocketConnection
    private let watcher: StoreSocketConnection
    private let node: StorePath
    private let watched: StorePath

    static let all: [(name: String, body: @Sendable (StoreCases, Int) -> Void)] = [
        ("read", { $0.repeated($1) { .read($0.node) } }),
        ("write", { $0.repeated($1) { .write($0.node, "other") } }),
        ("directory", { $0.repeated($1) { .directory($0.node) } }),
        ("write with 100 watches", { $0.repeated($1) { .write($0.watched, "other") } }),
        ("transaction of 10 writes", { $0.transactions($1) }),
    ]

    init(_ path: String) throws {
        client = try StoreSocketConnection(path: path)
        watcher = try StoreSocketConnection(path: path)
        node = StorePath.root.appending("bench/node")
        watched = StorePath.root.appending("bench/watched")
        for index in 0..<20 { _ = client.perform(.write(node.appending("child\(index)"), "value")) }
        for index in 0..<100 { _ = watcher.perform(.watch(watched, token: "t\(index)")) }
    }

    private func repeated(_ count: Int, _ request: (StoreCases) -> StoreRequest) {
        let request = request(self)
        for _ in 0..<count {
            if case .failure(let code) = client.perform(request) { refuse("\(request): \(code)") }
        }
    }

    private func transactions(_ count: Int) {
        for _ in 0..<(count / 10) {
            guard case .transaction(let id) = client.perform(.beginTransaction) else { refuse("no transaction") }
            for index in 0..<10 { _ = client.perform(.write(node.appending("child\(index)"), "new"), in: id) }
            insist(client.perform(.endTransaction(commit: true), in: id) == .done, "no conflict")
        }
    }
}
