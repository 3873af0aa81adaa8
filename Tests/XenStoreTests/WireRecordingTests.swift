// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenInterface
import XenStore

/// Replays what a raw client said to xenstored 4.17.7 on a real Xen, byte for byte.
struct WireRecordingTests {
    @Test func `what the raw client sent is answered as recorded`() throws {
        var replay = WireReplay()
        try replay.play(Fixture("wire/wire-raw-c.txt"))
        let exceptions = [
            // CONTROL help lists commands of the daemon that mean nothing here.
            "check\\t\\n",
            // Request 0x11e, a READ without a NUL: the daemon tells the error of the request before (R26).
            "\\u{1E}\\u{01}",
        ]
        #expect(replay.differences.filter { line in !exceptions.contains { line.contains($0) } } == [])
        #expect(replay.differences.count == exceptions.count)
        #expect(replay.answered > 140)
        #expect(replay.isClosed, "the recording ends with a payload that is too long")
    }

    @Test func `a header that announces too much closes the connection`() throws {
        var replay = WireReplay()
        try replay.play(Fixture("wire/wire-badlen-c.txt"))
        #expect(replay.differences == [])
        #expect(replay.isClosed)
        #expect(replay.answered == 0)
    }

    @Test func `a domain that is destroyed is released`() throws {
        var replay = WireReplay()
        replay.introduceDomain1()
        try replay.play(Fixture("wire/wire-domain-c.txt"))
        #expect(replay.differences == [])
        #expect(replay.answered == 6)
    }
}

/// Plays a recording of lines `> hex` and `< hex`, with what others did in between as `# sh: command`.
struct WireReplay {
    private var store = StoreServer(existence: .announced)
    private let client: StoreConnectionID
    private let other: StoreConnectionID
    private var decoder = StoreMessageDecoder()
    private var pending: [StoreMessage] = []
    private(set) var isClosed = false
    private(set) var answered = 0
    var differences: [String] = []

    init() {
        client = store.connect(as: .dom0)
        other = store.connect(as: .dom0)
        write("/local/domain/0", "")
    }

    mutating func introduceDomain1() {
        store.domainCreated(DomainID(1))
        send(StoreMessage(.introduce, payload: Array("1\u{0}1\u{0}1\u{0}".utf8)), from: other)
    }

    mutating func play(_ fixture: Fixture) throws {
        for line in try fixture.lines() {
            if line.hasPrefix("> "), let sent = bytes(hex: String(line.dropFirst(2))) {
                receive(sent)
            } else if line.hasPrefix("< "), let expected = bytes(hex: String(line.dropFirst(2))) {
                check(expected)
            } else if line.hasPrefix("# sh: ") {
                act(line.dropFirst(6))
            }
        }
        if !pending.isEmpty { differences.append("not recorded: \(pending)") }
    }

    private mutating func receive(_ bytes: [UInt8]) {
        if isClosed { return }
        decoder.append(bytes)
        while true {
            switch decoder.next() {
            case .message(let message): send(message, from: client)
            case .needMore: return
            case .protocolError:
                store.disconnect(client)
                isClosed = true
                return
            }
        }
    }

    private mutating func send(_ message: StoreMessage, from id: StoreConnectionID) {
        var outputs: [StoreOutput] = []
        store.handle(message, from: id, into: &outputs)
        keep(outputs)
    }

    private mutating func keep(_ outputs: [StoreOutput]) {
        for case .message(let message, client) in outputs { pending.append(message) }
    }

    private mutating func check(_ expected: [UInt8]) {
        answered += 1
        guard !pending.isEmpty else {
            differences.append("nothing, not \(hex(expected))")
            return
        }
        let message = pending.removeFirst()
        if withoutStamp(message.encoded) != withoutStamp(expected) {
            differences.append("\(text(message.encoded)) not \(text(expected))")
        }
    }

    /// The stamp of a DIRECTORY_PART counts all writes of the host's life; its digits are left out, and the length with them.
    private func withoutStamp(_ bytes: [UInt8]) -> [UInt8] {
        guard bytes.first == 22, let nul = bytes.dropFirst(16).firstIndex(of: 0) else { return bytes }
        return Array(bytes[..<12] + bytes[nul...])
    }

    private func text(_ bytes: [UInt8]) -> String {
        String(decoding: bytes, as: UTF8.self).debugDescription
    }

    /// What the recorder's shell did meanwhile.
    private mutating func act(_ command: Substring) {
        let words = command.split(separator: " ")
        if command.hasPrefix("xenstore-write "), words.count == 3 {
            write(String(words[1]), String(words[2]))
        } else if command.contains("a-node-with-a-long-name") {
            for number in 0..<300 { write("/tool/big/a-node-with-a-long-name-\(number)", "x") }
        } else if command.hasPrefix("xl destroy") {
            var outputs: [StoreOutput] = []
            store.domainDestroyed(DomainID(1), into: &outputs)
            keep(outputs)
        } else {
            differences.append("unknown command: \(command)")
        }
    }

    private mutating func write(_ path: String, _ value: String) {
        send(StoreMessage(.write, payload: Array("\(path)\u{0}\(value)".utf8)), from: other)
    }
}
