// SPDX-License-Identifier: MIT

import Testing
import XenInterface

@testable import XenStore

/// Paths of many components, which any guest may name (D8).
struct DeepPathTests {
    private let host = StoreHost()

    private func path(_ count: Int, of name: String = "a") throws -> StorePath {
        try #require(StorePath(String(repeating: "/" + name, count: count)))
    }

    @Test func `a watch far below all nodes takes memory by the length of its path, not by the square`() throws {
        let guest = host.connect(as: DomainID(1))
        let before = host.server.tree.text.count
        for name in ["a", "b", "c"] {
            #expect(guest.perform(.watch(try path(1000, of: name), token: "t"), in: .none) == .done)
        }
        #expect(host.server.tree.text.count - before <= 3 * 2 * 2000)
        #expect(guest.perform(.resetWatches, in: .none) == .done)
        #expect(host.server.tree.entryCount == 3)
    }

    @Test func `nodes that are made together with those above are found, told apart and told of`() throws {
        let client = host.connect(as: .dom0)
        #expect(client.perform(.watch(.root, token: "t"), in: .none) == .done)
        while client.nextWatchEvent() != nil {}
        for length in [9, 5, 7, 6, 8] {
            #expect(client.perform(.write(try path(length), StoreValue("\(length)")), in: .none) == .done)
            #expect(client.nextWatchEvent()?.path == (try path(length)))
        }
        for length in 1...9 {
            #expect(
                client.perform(.read(try path(length)), in: .none) == .value(StoreValue(length < 5 ? "" : "\(length)"))
            )
            var other = String(repeating: "/a", count: length - 1) + "/b"
            #expect(client.perform(.read(try #require(StorePath(other))), in: .none) == .failure(.noEntry))
            other = "/b" + String(repeating: "/a", count: length - 1)
            #expect(client.perform(.read(try #require(StorePath(other))), in: .none) == .failure(.noEntry))
        }
        // One more below one in the middle, whose own path nobody has written yet.
        let beside = try path(3).appending("b")
        #expect(client.perform(.write(beside, "b"), in: .none) == .done)
        #expect(client.nextWatchEvent()?.path == beside)
        #expect(client.perform(.read(beside), in: .none) == .value("b"))
        #expect(client.perform(.remove(try path(1)), in: .none) == .done)
        #expect(client.nextWatchEvent()?.path == (try path(1)))
        #expect(host.server.tree.entryCount == 3)
    }
}
