// SPDX-License-Identifier: MIT

import Foundation
import Testing
import XenInterface
import XenStore

@testable import XenChannelIO

@Suite(.longest)
struct StoreSocketTests {
    @Test func `requests arrive in any fragments`() throws {
        let bench = try StoreBench()
        let client = try bench.client()
        let requests: [StoreRequest] = [
            .write(path("/a"), "1"), .read(path("/a")), .directory(.root), .read(path("/none")),
        ]
        let bytes = requests.enumerated().flatMap { $1.message(request: UInt32($0), in: .none).encoded }
        for byte in bytes {
            client.far.send([byte])
            // It is readable, so that one turn takes it.
            bench.reactor.turn()
        }
        let messages = try bench.messages(4, for: client)
        #expect(messages.map(\.request) == [0, 1, 2, 3])
        #expect(StoreReply(messages[1], to: .read) == .value("1"))
        #expect(StoreReply(messages[3], to: .read) == .failure(.noEntry))
    }

    @Test func `a client that leaves in the middle of a message is forgotten, its transactions and watches with it`()
        throws
    {
        let bench = try StoreBench()
        let client = try bench.client()
        client.send(.beginTransaction, 1)
        client.send(.watch(path("/a"), token: "t"), 2)
        // The watch fires once when it is made.
        _ = try bench.messages(3, for: client)
        #expect(bench.server { $0.transactionCount } == 1)
        #expect(bench.server { $0.watchCount } == 1)
        let whole = StoreRequest.write(path("/a"), "half").message(request: 3, in: .none).encoded
        client.far.send([UInt8](whole.dropLast()))
        bench.reactor.settle()
        client.far.leave()
        bench.reactor.turn(until: "it is gone") { bench.server { $0.connectionIDs.count } == bench.ownConnections }
        #expect(bench.server { $0.transactionCount } == 0)
        #expect(bench.server { $0.watchCount } == 0)
        #expect(bench.local.perform(.read(path("/a"))) == .failure(.noEntry))
    }

    @Test func `a client that leaves twice takes nothing from the next one in its place`() throws {
        var store = LiveStore(StoreRules())
        let (first, _) = store.connect(as: .dom0)
        store.disconnect(first)
        let (second, inbox) = store.connect(as: .dom0)
        #expect(first.slot == second.slot)
        store.disconnect(first)
        #expect(store.perform(.watch(.root, token: "t"), in: .none, on: second) == .done)
        #expect(inbox.takeAll().map(\.token) == ["t"])
    }

    @Test func `events of this process's clients that wait are merged`() {
        var store = LiveStore(StoreRules())
        let (client, inbox) = store.connect(as: .dom0)
        _ = store.perform(.watch(.root, token: "t"), in: .none, on: client)
        for _ in 0..<3 { _ = store.perform(.write(.root.appending("a"), "v"), in: .none, on: client) }
        #expect(inbox.takeAll().map(\.path.text) == ["/", "/a"])
    }

    @Test func `requests stay with who sent them while answers pile up`() throws {
        let bench = try StoreBench()
        let value = StoreValue(String(repeating: "v", count: 3000))
        #expect(bench.local.perform(.write(path("/big"), value)) == .done)
        let client = try bench.client()
        let requests = (0..<5000).flatMap { _ in StoreRequest.read(path("/big")).message(in: .none).encoded }
        var sent = 0
        for _ in 0..<60 {
            sent += client.far.send([UInt8](requests[(sent % requests.count)...]))
            bench.reactor.settle()
        }
        #expect(sent < 1_500_000)
    }

    @Test func `a client that asks on and on without reading is answered in order, with a bound on what waits`() throws
    {
        let bench = try StoreBench()
        let value = StoreValue(String(repeating: "v", count: 3000))
        #expect(bench.local.perform(.write(path("/big"), value)) == .done)
        let client = try bench.client()
        let other = try bench.client()
        let requests = (0..<2000).flatMap {
            StoreRequest.read(path("/big")).message(request: UInt32($0), in: .none).encoded
        }
        var sent = 0
        var rounds = 0
        while sent < requests.count, rounds < 200 {
            sent += client.far.send([UInt8](requests[sent...]))
            bench.reactor.settle()
            rounds += 1
            #expect(bench.unsent <= 65_536 + 4096 + 16)
        }
        #expect(bench.reactor.turns() < 10)
        // Nobody else waits for it.
        other.send(.read(path("/big")), 7)
        #expect(StoreReply(try bench.messages(1, for: other)[0], to: .read) == .value(value))
        // When it reads, it gets all answers.
        var count = 0
        bench.reactor.turn(until: "all answers came") {
            sent += sent < requests.count ? client.far.send([UInt8](requests[sent...])) : 0
            for message in client.take() {
                #expect(message.request == UInt32(count))
                count += 1
            }
            return count == 2000
        }
    }

    @Test func `a client that lets events pile up is cut off, and no other`() throws {
        let bench = try StoreBench()
        let slow = try bench.client()
        let quick = try bench.client()
        for client in [slow, quick] { client.send(.watch(path("/w"), token: "t"), 1) }
        _ = try bench.messages(2, for: quick)
        bench.reactor.settle()
        let long = String(repeating: "n", count: 2000)
        var events = 0
        for number in 0..<1500 {
            _ = bench.local.perform(.write(path("/w/\(long)\(number)"), ""))
            _ = bench.local.perform(.remove(path("/w/\(long)\(number)")))
            if number % 10 == 0 {
                bench.reactor.settle()
                events += quick.take().count
                #expect(bench.unsent <= 1 << 20)
            }
        }
        bench.reactor.turn(until: "the quick one has its events") {
            events += quick.take().count
            return events >= 1500
        }
        bench.reactor.turn(until: "the slow one is gone") {
            bench.server { $0.connectionIDs.count } == bench.ownConnections + 1
        }
        slow.far.receive()
        slow.far.receive()
        #expect(slow.far.isEnded)
        #expect(bench.reactor.turns() < 5)
    }

    @Test func `an oversized header ends the connection, after the answers to what came before`() throws {
        let bench = try StoreBench()
        let client = try bench.client()
        let other = try bench.client()
        var bytes = StoreRequest.read(.root).message(request: 5, in: .none).encoded
        bytes += [2, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0x01, 0x10, 0, 0]
        client.far.send(bytes)
        #expect(try bench.messages(1, for: client).map(\.request) == [5])
        bench.reactor.turn(until: "it is closed") {
            client.far.receive()
            return client.far.isEnded
        }
        other.send(.read(.root), 1)
        #expect(try bench.messages(1, for: other).count == 1)
    }

    @Test func `many clients are served, each with its own answers and events`() throws {
        let bench = try StoreBench()
        let clients = try (0..<60).map { _ in try bench.client() }
        for (number, client) in clients.enumerated() {
            client.send(.watch(path("/many"), token: "\(number)"), 1)
            client.send(.write(path("/each/\(number)"), StoreValue("\(number)")), 2)
            client.send(.read(path("/each/\(number)")), 3)
        }
        for (number, client) in clients.enumerated() {
            let messages = try bench.messages(4, for: client)
            #expect(StoreReply(try #require(messages.last), to: .read) == .value(StoreValue("\(number)")))
        }
        _ = bench.local.perform(.write(path("/many"), "x"))
        for (number, client) in clients.enumerated() {
            let event = try #require(StoreWatchEvent(try bench.messages(1, for: client)[0]))
            #expect(event.token == "\(number)")
        }
        clients.forEach { $0.far.leave() }
        bench.reactor.turn(until: "all are gone") { bench.server { $0.connectionIDs.count } == bench.ownConnections }
    }

    @Test func `a socket that is dropped takes its clients and its file along`() throws {
        let bench = try StoreBench()
        let client = try bench.client()
        client.send(.read(.root), 1)
        _ = try bench.messages(1, for: client)
        client.send(.read(.root), 2)
        bench.drop()
        #expect(!exists(bench.path))
        #expect(bench.reactor.turns() < 5)
        client.far.receive()
        #expect(client.far.isEnded)
        #expect(bench.server { $0.connectionIDs.count } == bench.ownConnections)
    }

    @Test func `clients that would take the last descriptors wait until one leaves, and that is told once`() throws {
        // Any descriptor is one too many.
        let bench = try StoreBench(ceiling: 0)
        let first = try bench.client()
        let waiting = try (0..<3).map { _ in try StoreClient(Far(connectingTo: bench.path)) }
        waiting.enumerated().forEach { $1.send(.read(.root), UInt32($0)) }
        #expect(bench.reactor.turns(within: .milliseconds(150)) < 5)
        #expect(bench.server { $0.connectionIDs.count } == bench.ownConnections + 1)
        #expect(bench.told.count == 1)
        first.far.leave()
        for client in waiting {
            #expect(try bench.messages(1, for: client).count == 1)
            client.far.leave()
        }
        bench.reactor.turn(until: "all are gone") { bench.server { $0.connectionIDs.count } == bench.ownConnections }
        #expect(bench.told.count == 1)
    }

    @Test func `the client that waits speaks with it, and says EIO when it is gone`() throws {
        let folder = try Folder()
        let loop = try Loop()
        let host = LiveHost()
        let socket = try loop.sync { try StoreSocket(path: folder("s"), of: host, on: loop.reactor) }
        let connection = try StoreSocketConnection(path: folder("s"))
        #expect(connection.perform(.write(path("/a/b"), "1")) == .done)
        #expect(connection.perform(.watch(path("/a"), token: "t")) == .done)
        guard case .transaction(let id) = connection.perform(.beginTransaction) else {
            Issue.record("no transaction")
            return
        }
        #expect(connection.perform(.write(path("/a/b"), "2"), in: id) == .done)
        #expect(connection.perform(.read(path("/a/b"))) == .value("1"))
        #expect(connection.perform(.endTransaction(commit: true), in: id) == .done)
        #expect(connection.perform(.read(path("/a/b"))) == .value("2"))
        #expect(connection.perform(.directory(path("/a"))) == .children(["b"]))
        #expect(connection.perform(.read(path("/c"))) == .failure(.noEntry))
        let seen = [connection.nextWatchEvent()?.path, connection.nextWatchEvent()?.path]
        #expect(seen == [path("/a"), path("/a/b")])
        try loop.sync { socket.close() }
        #expect(connection.perform(.read(path("/a"))) == .failure(.inputOutput))
        #expect(connection.perform(.read(path("/a"))) == .failure(.inputOutput))
        try loop.stop()
    }
}

private func path(_ text: String) -> StorePath {
    guard let path = StorePath(text) else { preconditionFailure("'\(text)' is a path") }
    return path
}

/// A store on a socket, with the loop turned by hand.
private final class StoreBench {
    let reactor: Reactor
    let host = LiveHost()
    let local: LiveStoreConnection
    let path: String
    /// Connections that are not clients on the socket.
    let ownConnections = 1
    private let folder: Folder
    private var socket: StoreSocket?

    private(set) var told: [SystemError] = []

    init(ceiling: Int32 = .max) throws {
        reactor = try Reactor()
        folder = try Folder()
        path = folder("store")
        local = LiveStoreConnection(as: .dom0, to: host)
        socket = try StoreSocket(path: path, of: host, on: reactor, ceiling: ceiling)
        socket?.onReport = { [unowned self] in told.append($0) }
    }

    func drop() { socket = nil }

    func client() throws -> StoreClient {
        let before = server { $0.connectionIDs.count }
        let client = try StoreClient(Far(connectingTo: path))
        reactor.turn(until: "it is accepted") { server { $0.connectionIDs.count } > before }
        return client
    }

    func server<Result>(_ body: (StoreServer) -> Result) -> Result {
        host.store.withLock { body($0.server) }
    }

    /// Bytes that wait for all clients.
    var unsent: Int {
        host.store.withLock { store in
            store.unsentByteCount
        }
    }

    /// Turns until a client has this many more messages.
    func messages(_ count: Int, for client: StoreClient) throws -> [StoreMessage] {
        var messages: [StoreMessage] = []
        reactor.turn(until: "\(count) messages") {
            messages += client.take()
            return messages.count >= count
        }
        try #require(messages.count == count)
        return messages
    }
}

/// A client that sends and takes messages as bytes.
private final class StoreClient {
    let far: Far
    private var decoder = StoreMessageDecoder()
    private var taken = 0

    init(_ far: Far) { self.far = far }

    func send(_ request: StoreRequest, _ number: UInt32) {
        far.send(request.message(request: number, in: .none).encoded)
    }

    func take() -> [StoreMessage] {
        far.receive()
        decoder.append(far.received[taken...])
        taken = far.received.count
        var messages: [StoreMessage] = []
        while case .message(let message) = decoder.next() { messages.append(message) }
        return messages
    }
}
