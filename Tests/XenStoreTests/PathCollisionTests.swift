// SPDX-License-Identifier: MIT

import Testing
import XenInterface

@testable import XenStore

/// Paths that the tree keeps under one hash: only their bytes tell them apart.
struct PathCollisionTests {
    /// The first two of many paths whose hashes begin alike, as far as the tree keeps them.
    private func collision(_ path: (String) -> String) throws -> (StorePath, StorePath) {
        var seen: [UInt32: String] = [:]
        for number in 0..<400_000 {
            let digits = String(1 << 63 | UInt64(number) &* 0x9E37_79B9_7F4A_7C15, radix: 16)
            let path = path(digits)
            let hash = path.withBytes { UInt32(truncatingIfNeeded: PathHash.of($0, count: $0.count)) }
            if let other = seen.updateValue(path, forKey: hash) {
                return try (#require(StorePath(other)), #require(StorePath(path)))
            }
        }
        Issue.record("no two of the paths have one hash")
        return (.root, .root)
    }

    private func check(_ first: StorePath, _ second: StorePath, below suffix: String? = nil) {
        let host = StoreHost()
        let client = host.connect(as: .dom0)
        if let suffix { #expect(client.perform(.write(first.appending(suffix), "below"), in: .none) == .done) }
        #expect(client.perform(.write(first, "1"), in: .none) == .done)
        #expect(client.perform(.read(second), in: .none) == .failure(.noEntry), "\(first) is taken for \(second)")
        #expect(client.perform(.write(second, "2"), in: .none) == .done)
        #expect(client.perform(.read(first), in: .none) == .value("1"))
        #expect(client.perform(.read(second), in: .none) == .value("2"))
        #expect(client.perform(.remove(first), in: .none) == .done)
        #expect(client.perform(.read(first), in: .none) == .failure(.noEntry))
        #expect(client.perform(.read(second), in: .none) == .value("2"))
    }

    @Test func `names of one hash in one directory are told apart`() throws {
        let (first, second) = try collision { "/local/n\($0)" }
        check(first, second)
        check(first, second, below: "a")
        check(second, first, below: "a")
    }

    @Test func `one name in directories of one hash is told apart`() throws {
        let (first, second) = try collision { "/d\($0)/name" }
        check(first, second)
        check(first, second, below: "a")
    }

    @Test func `a path stays when its node gets others below it and loses them`() {
        let host = StoreHost()
        let client = host.connect(as: .dom0)
        let path = StorePath.domain(DomainID(7)).appending("data/one")
        var parts = path
        for name in ["a", "b", "c"] {
            _ = client.perform(.write(parts, "v"), in: .none)
            parts = parts.appending(name)
        }
        _ = client.perform(.write(parts, "v"), in: .none)
        #expect(client.perform(.watch(path, token: "t"), in: .none) == .done)
        #expect(client.nextWatchEvent()?.path == path)
        #expect(client.perform(.write(parts, "w"), in: .none) == .done)
        #expect(client.nextWatchEvent()?.path == parts)
        #expect(client.perform(.remove(path.appending("a")), in: .none) == .done)
        #expect(client.nextWatchEvent()?.path == path.appending("a"))
        #expect(client.perform(.directory(path), in: .none) == .children([]))
        #expect(client.perform(.write(path, "x"), in: .none) == .done)
        #expect(client.nextWatchEvent()?.path == path)
    }
}

/// Who is to be told of events, as a world of one thread asks.
struct WakingTests {
    @Test func `clients are woken in the order of their first event, each once`() {
        let host = StoreHost()
        let clients = (0..<3).map { _ in host.connect(as: .dom0) }
        let path = StorePath.root.appending("x")
        for client in clients.reversed() { _ = client.perform(.watch(path, token: "t"), in: .none) }
        var woken: [StoreConnectionID] = []
        while let id = host.nextWoken() { woken.append(id) }
        #expect(woken == clients.reversed().map(\.id))
        for client in clients { while client.nextWatchEvent() != nil {} }
        _ = clients[0].perform(.write(path, "v"), in: .none)
        #expect(host.nextWoken() == clients[0].id)
        // An event for one who was taken wakes him again, behind the others.
        #expect(clients[0].nextWatchEvent() != nil)
        _ = clients[0].perform(.write(path, "v"), in: .none)
        #expect((0..<4).map { _ in host.nextWoken() } == [clients[1].id, clients[2].id, clients[0].id, nil])
        // An event that waits already wakes nobody.
        _ = clients[0].perform(.write(path, "v"), in: .none)
        #expect(host.nextWoken() == nil)
    }
}
