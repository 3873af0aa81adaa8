// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenInterface
import XenStore

/// Replays what was recorded of xenstored 4.17.7 without Xen: one request a line, and all that came back until the next one.
struct GoldenTranscriptTests {
    @Test func `every line recorded on sockets is answered as recorded`() throws {
        var replay = TranscriptReplay()
        for line in try Fixture("oracle/golden-socket-4.17.jsonl").jsonLines(of: TranscriptLine.self) {
            replay.play(line)
        }
        #expect(replay.differences == [])
        #expect(replay.played > 100)
    }

    @Test func `every line recorded of guests is answered as recorded`() throws {
        var replay = TranscriptReplay()
        for line in try Fixture("oracle/golden-domu-4.17.jsonl").jsonLines(of: TranscriptLine.self) {
            replay.play(line)
        }
        #expect(replay.differences == [])
        #expect(replay.played > 600)
    }
}

/// A line of `golden-*.jsonl`.
struct TranscriptLine: Decodable {
    struct Packet: Decodable {
        let type: String
        let tx: UInt32
        let payload: String
    }

    /// What came back: packets of a call, bare payloads of a drain.
    enum Got: Decodable {
        case packets([Packet])
        case payloads([String])
        case text(String)

        init(from decoder: any Decoder) throws {
            let container = try decoder.singleValueContainer()
            if let packets = try? container.decode([Packet].self) {
                self = .packets(packets)
            } else if let payloads = try? container.decode([String].self) {
                self = .payloads(payloads)
            } else {
                self = .text(try container.decode(String.self))
            }
        }
    }

    let conn: String
    let kind: String
    let op: UInt32?
    let tx: UInt32?
    let payload: String?
    let got: Got
}

/// Plays recorded lines to a store and notes each answer that is not the recorded one.
struct TranscriptReplay {
    private var store = StoreServer(existence: .announced)
    private var connections: [String: StoreConnectionID] = [:]
    private var rings: [DomainID: StoreConnectionID] = [:]
    private var queues: [StoreConnectionID: [StoreMessage]] = [:]
    private var late: [String: [String]] = [:]
    var differences: [String] = []
    var played = 0

    init() {
        for number in 1...3 { store.domainCreated(DomainID(UInt16(number))) }
    }

    mutating func play(_ line: TranscriptLine) {
        played += 1
        let connection = connection(line.conn)
        sendWhatWasNotRecorded(before: line)
        if let operation = line.op {
            let message = StoreMessage(
                StoreOperation(operation),
                transaction: StoreTransactionID(rawValue: line.tx ?? 0),
                payload: bytes(hex: line.payload ?? "") ?? []
            )
            send(message, from: connection)
        }
        var answered = merged((queues.removeValue(forKey: connection) ?? []).map(describe))
        answered = (late.removeValue(forKey: line.conn) ?? []) + answered
        let recorded = merged(recorded(line))
        // The recorder stopped reading soon after the reply: an event behind it may stand on the next line.
        while answered.count > recorded.count, let last = answered.last, last.hasPrefix("event") {
            late[line.conn, default: []].insert(last, at: 0)
            answered.removeLast()
        }
        if answered != recorded, !isExcepted(line) {
            differences.append("\(line.conn) \(line.op ?? 0) \(line.payload ?? ""): \(answered) not \(recorded)")
        }
    }

    private mutating func send(_ message: StoreMessage, from connection: StoreConnectionID) {
        var outputs: [StoreOutput] = []
        store.handle(message, from: connection, into: &outputs)
        for output in outputs {
            switch output {
            case .message(let message, let to): queues[to, default: []].append(message)
            case .introduced(let introduction): rings[introduction.domain] = introduction.connection
            case .disconnected, .released: break
            }
        }
    }

    private mutating func connection(_ name: String) -> StoreConnectionID {
        if let known = connections[name] { return known }
        let ring = name.hasPrefix("dom") ? UInt16(name.dropFirst(3).prefix { $0 != "#" }) : nil
        let made = ring.flatMap { rings[DomainID($0)] } ?? store.connect(as: .dom0)
        connections[name] = made
        return made
    }

    /// Five writes were sent in one go, to see events merge; the recording has only what came back.
    private mutating func sendWhatWasNotRecorded(before line: TranscriptLine) {
        guard case .payloads(let payloads) = line.got, payloads.contains("2f742f7100746f6b00") else { return }
        for _ in 0..<5 {
            send(StoreMessage(.write, payload: Array("/t/q\0v".utf8)), from: connection("sock#1"))
        }
    }

    /// The help text of CONTROL lists commands of the daemon that have no meaning here.
    private func isExcepted(_ line: TranscriptLine) -> Bool {
        line.op == 0
    }

    private func recorded(_ line: TranscriptLine) -> [String] {
        switch line.got {
        case .packets(let packets): packets.map { "\(kind($0.type)) \($0.payload)" }
        case .payloads(let payloads): payloads.map { "\($0 == "4f4b00" ? "reply" : "event") \($0)" }
        case .text(let text): [text]
        }
    }

    private func kind(_ type: String) -> String {
        type == "EVENT" ? "event" : type == "ERROR" ? "error" : "reply"
    }

    private func describe(_ message: StoreMessage) -> String {
        let kind = message.operation == .watchEvent ? "event" : message.operation == .error ? "error" : "reply"
        return "\(kind) \(hex(message.payload))"
    }

    /// Equal events that follow one another stand for one: how many were merged depended on the moment (D31).
    private func merged(_ lines: [String]) -> [String] {
        lines.reduce(into: []) { if $0.last != $1 || !$1.hasPrefix("event") { $0.append($1) } }
    }
}

/// Pairs of hexadecimal digits.
func hex(_ bytes: [UInt8]) -> String {
    bytes.map { byte in
        let digits = String(byte, radix: 16)
        return digits.count == 1 ? "0" + digits : digits
    }.joined()
}
