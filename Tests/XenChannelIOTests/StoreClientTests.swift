// SPDX-License-Identifier: MIT

import Foundation
import Testing
import XenInterface

@testable import XenChannelIO

/// A store on a socket of its own, in a thread of its own.
private func service() throws -> StoreService {
    let name = "store-\(UUID().uuidString.prefix(8))"
    return try StoreService(path: FileManager.default.temporaryDirectory.appending(path: name).path())
}

private func node(_ text: String) throws -> StorePath {
    try #require(StorePath(text))
}

@Suite(.longest)
struct StoreClientTests {
    @Test func `what is written is read, listed and removed`() async throws {
        let server = try service()
        defer { server.stop() }
        let client = try StoreClient(path: server.path)
        try await client.write(node("/a/b"), "value")
        #expect(try await client.read(node("/a/b")) == "value")
        #expect(try await client.list(node("/a")) == ["b"])
        try await client.remove(node("/a"))
        let error = await #expect(throws: XenStoreError.self) { try await client.read(node("/a/b")) }
        #expect(error?.reason == .refused(.noEntry))
        #expect(error?.description.contains("/a/b") == true)
    }

    @Test func `a listing beyond one message comes in parts (D20)`() async throws {
        let server = try service()
        defer { server.stop() }
        let client = try StoreClient(path: server.path)
        let names = (0..<1000).map { "child-\($0)" }
        for name in names { try await client.write(node("/long").appending(name), "") }
        #expect(try await client.list(node("/long")) == names)
    }

    @Test func `many tasks share a connection`() async throws {
        let server = try service()
        defer { server.stop() }
        let client = try StoreClient(path: server.path)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<100 {
                group.addTask {
                    try await client.write(node("/many/\(number)"), StoreValue(decimal: number))
                    #expect(try await client.read(node("/many/\(number)")).decimal(Int.self) == number)
                }
            }
            try await group.waitForAll()
        }
        #expect(try await client.list(node("/many")).count == 100)
    }

    @Test func `a watch fires at once, and at each change below (D27, D29)`() async throws {
        let server = try service()
        defer { server.stop() }
        let client = try StoreClient(path: server.path)
        let other = try StoreClient(path: server.path)
        var changes = try await client.watch(node("/w")).makeAsyncIterator()
        #expect(await changes.next()?.path.text == "/w")
        try await other.write(node("/w/x"), "1")
        #expect(await changes.next()?.path.text == "/w/x")
        try await other.remove(node("/w"))
        #expect(await changes.next()?.path.text == "/w")
    }

    @Test func `a dropped watch is dropped in the store as well`() async throws {
        let server = try service()
        defer { server.stop() }
        let client = try StoreClient(path: server.path)
        for _ in 0..<3 {
            var changes = try await client.watch(node("/w")).makeAsyncIterator()
            #expect(await changes.next() != nil)
        }
        // The tokens are the client's own; UNWATCH of one that is gone says ENOENT (D35).
        for number in 1...3 {
            let reply = try await client.perform(.unwatch(node("/w"), token: "w\(number)"))
            #expect(reply == .failure(.noEntry))
        }
    }

    @Test func `a transaction that meets a conflict runs again, and no more often than allowed (D38)`() async throws {
        let server = try service()
        defer { server.stop() }
        let client = try StoreClient(path: server.path)
        let other = try StoreClient(path: server.path)
        try await client.write(node("/count"), "0")
        let runs = Counter()
        try await client.transaction { transaction throws(XenStoreError) in
            let count = try await client.read(StorePath.root.appending("count"), in: transaction).decimal(Int.self) ?? 0
            if await runs.next() < 3 { try await other.write(StorePath.root.appending("count"), "10") }
            try await client.write(
                StorePath.root.appending("count"),
                StoreValue(decimal: count + 1),
                in: transaction
            )
        }
        #expect(await runs.count == 3)
        #expect(try await client.read(node("/count")) == "11")

        let error = await #expect(throws: XenStoreError.self) {
            try await client.transaction(attempts: 2) { transaction throws(XenStoreError) in
                _ = try await client.read(StorePath.root.appending("count"), in: transaction)
                try await other.write(StorePath.root.appending("count"), "0")
            }
        }
        #expect(error?.reason == .refused(.again))
    }

    @Test func `events that wait are merged with equal ones, and what was taken is told again (D31)`() async throws {
        let queue = StoreWatchQueue(token: "w")
        let first = StoreWatchEvent(path: try node("/w/a"), token: "w")
        let second = StoreWatchEvent(path: try node("/w/b"), token: "w")
        for event in [first, second, first, second, second] { queue.put(event) }
        #expect(await queue.next() == first)
        queue.put(first)
        queue.put(second)
        queue.end()
        #expect(await queue.next() == second)
        #expect(await queue.next() == first)
        #expect(await queue.next() == nil)
    }

    @Test func `a store that goes away ends requests and watches`() async throws {
        let server = try service()
        let client = try StoreClient(path: server.path)
        var changes = try await client.watch(node("/w")).makeAsyncIterator()
        #expect(await changes.next() != nil)
        server.stop()
        #expect(await changes.next() == nil)
        let error = await #expect(throws: XenStoreError.self) { try await client.read(node("/w")) }
        #expect(error?.reason == .connectionLost(server.path))
    }

    @Test func `a task that is cancelled no longer waits for an event`() async throws {
        let server = try service()
        defer { server.stop() }
        let client = try StoreClient(path: server.path)
        let watch = try await client.watch(node("/w"))
        let task = Task {
            var changes = watch.makeAsyncIterator()
            var count = 0
            while await changes.next() != nil { count += 1 }
            return count
        }
        task.cancel()
        #expect(await task.value <= 1)
    }
}

private actor Counter {
    private(set) var count = 0

    func next() -> Int {
        count += 1
        return count
    }
}
