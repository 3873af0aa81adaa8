// SPDX-License-Identifier: MIT

import Testing
import XenInterface
import XenStore

@testable import XenChannelIO

/// The client against a store that says what a test wants it to.
@Suite(.timeLimit(.minutes(1)))
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
            acceptor = try Acceptor(path: path, backlog: 1, on: loop.reactor) { [unowned self] in accept() }
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
        source = loop.reactor.add(descriptor, for: .readable) { [unowned self] _ in receive() }
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
