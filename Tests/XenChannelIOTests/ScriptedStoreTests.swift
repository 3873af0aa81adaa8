// SPDX-License-Identifier: MIT

import Testing
import XenInterface
import XenStore

@testable import XenChannelIO

/// The client against a store that says what a test wants it to.
@Suite(.longest)
struct ScriptedStoreTests {
    private let folder: Folder
    private let store: ScriptedStore

    init() throws {
        folder = try Folder()
        store = try ScriptedStore(path: folder("store"))
    }

    @Test func `a listing that changes between two parts is read again from the start (D20)`() async throws {
        try store.answer([
            (.error, "E2BIG\0"), (.directoryPart, "7\0a\0b\0"), (.directoryPart, "8\0c\0\0"),
            (.directoryPart, "8\0b\0"), (.directoryPart, "8\0c\0\0"),
        ])
        let client = try StoreClient(path: store.path)
        #expect(try await client.list(.root.appending("l")) == ["b", "c"])
        let asked = try store.payloads()
        #expect(asked == ["/l\0", "/l\0" + "0\0", "/l\0" + "4\0", "/l\0" + "0\0", "/l\0" + "2\0"])
    }

    @Test func `a part that is empty and not the last is no answer`() async throws {
        try store.answer([(.error, "E2BIG\0"), (.directoryPart, "7\0a\0"), (.directoryPart, "7\0")])
        let client = try StoreClient(path: store.path)
        let error = await #expect(throws: XenStoreError.self) { try await client.list(.root.appending("l")) }
        #expect(error?.reason == .protocolBroken)
    }

    @Test func `a transaction in which a removal met others' nodes is begun again (R27)`() async throws {
        try store.answer([
            (.transactionStart, "1\0"), (.error, "EIO\0"), (.transactionEnd, "OK\0"), (.transactionStart, "2\0"),
            (.remove, "OK\0"), (.transactionEnd, "OK\0"),
        ])
        let client = try StoreClient(path: store.path)
        try await client.transaction { id throws(XenStoreError) in
            try await client.remove(.root.appending("a"), in: id)
        }
        let asked = try store.payloads()
        #expect(asked == ["\0", "/a\0", "F\0", "\0", "/a\0", "T\0"])
    }

    /// What a request came to, once it did.
    private final class Outcome: Sendable {
        let reason = Lock<XenStoreError.Reason?>(nil)
    }

    /// Asks for the root, and says why that came to nothing; nil if it did not within seconds.
    private func outcome(on client: StoreClient) async throws -> XenStoreError.Reason? {
        let outcome = Outcome()
        let task = Task {
            do throws(XenStoreError) {
                _ = try await client.read(.root)
            } catch {
                outcome.reason.withLock { $0 = error.reason }
            }
        }
        for _ in 0..<500 {
            if let reason = outcome.reason.withLock({ $0 }) { return reason }
            try await Task.sleep(for: .milliseconds(10))
        }
        task.cancel()
        return nil
    }

    @Test func `a client ends at what is no message, and says so to all who ask later`() async throws {
        let listener = try UnixListener(path: folder("other"))
        let client = try StoreClient(path: folder("other"))
        guard case .client(let descriptor) = listener.accept() else { return }
        let far = Far(descriptor)
        // A payload beyond 4096 bytes.
        far.send([2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 16, 0, 0])
        for _ in 0..<2 {
            #expect(try await outcome(on: client) == .connectionLost(client.path))
        }
    }

    @Test func `more than a socket holds is sent as it is taken, and nothing twice`() async throws {
        let listener = try UnixListener(path: folder("other"))
        let client = try StoreClient(path: folder("other"))
        guard case .client(let descriptor) = listener.accept() else { return }
        let far = Far(descriptor)
        let count = 300
        let value = StoreValue([UInt8](repeating: 0x76, count: 4000))
        let tasks = (0..<count).map { number in
            Task { try? await client.write(.root.appending("n\(number)"), value) }
        }
        // Whoever asks has asked before the first byte is taken.
        try await Task.sleep(for: .milliseconds(100))
        var decoder = StoreMessageDecoder()
        var seen: Set<[UInt8]> = []
        var taken = 0
        // So many looks, and not so much time: between two of them others may have theirs.
        for _ in 0..<10_000 where seen.count < count {
            far.receive()
            decoder.append(far.received[taken...])
            taken = far.received.count
            while case .message(let message) = decoder.next() { seen.insert(Array(message.payload.prefix(8))) }
            try await Task.sleep(for: .milliseconds(1))
        }
        #expect(seen.count == count)
        #expect(!decoder.isMidMessage)
        far.endWriting()
        for task in tasks { await task.value }
    }
}

/// A store that gives the answers it was told, one to each request, whatever is asked.
private final class ScriptedStore: @unchecked Sendable {
    let path: String
    private let loop: Loop
    private var acceptor: Acceptor?
    private var source: Reactor.Source?
    private var decoder = StoreMessageDecoder()
    private var answers: [(operation: StoreOperation, payload: String)] = []
    private var asked: [String] = []

    init(path: String) throws {
        self.path = path
        loop = try Loop()
        try loop.sync { [self] in
            acceptor = try Acceptor(path: path, backlog: 1, on: loop.reactor) { [weak self] in self?.accept() }
        }
    }

    deinit {
        try? loop.stop()
    }

    func answer(_ answers: [(StoreOperation, String)]) throws {
        try loop.sync { [self] in self.answers = answers }
    }

    /// What was asked, as text.
    func payloads() throws -> [String] {
        try loop.sync { [self] in asked }
    }

    private func accept() {
        guard let descriptor = acceptor?.next() else { return }
        source = loop.reactor.add(descriptor, for: .readable) { [weak self] _ in self?.receive() }
    }

    private func receive() {
        guard let descriptor = source?.descriptor else { return }
        let bytes = [UInt8](capacity: 4096) { output in
            if case .moved = descriptor.read(appendingTo: &output) { return }
            source?.cancel()
        }
        decoder.append(bytes)
        while case .message(let message) = decoder.next(), !answers.isEmpty {
            asked.append(String(decoding: message.payload, as: UTF8.self))
            let answer = answers.removeFirst()
            let reply = StoreMessage(answer.operation, request: message.request, payload: Array(answer.payload.utf8))
            _ = descriptor.write(reply.encoded.span)
        }
    }
}
