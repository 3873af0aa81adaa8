// SPDX-License-Identifier: MIT

import XenInterface
import XenStore

/// The first thing in which the two stores differ.
struct Difference: CustomStringConvertible {
    let step: Int
    let client: Client
    let real: [String]
    let ours: [String]

    var description: String {
        "after step \(step), to \(client):\n  the real store sends \(real)\n  ours sends           \(ours)"
    }
}

/// Drives a real daemon and a `StoreServer` through the same steps, and compares all that each client gets after each step.
///
/// After every step each client asks for something harmless, which brings in every event that was sent to it before.
final class Runner {
    let socketPath: String
    let ringDirectory: String?
    private var real: [Client: Link] = [:]
    private var ours: [Client: StoreConnectionID] = [:]
    private var rings: [DomainID: StoreConnectionID] = [:]
    private var store = StoreServer(existence: .announced)
    private var stampOffset: Int64 = 0
    private var control: Link
    /// Answers that were compared.
    private(set) var compared = 0

    private final class Link {
        let connection: any RealConnection
        var decoder = StoreMessageDecoder()
        var open: [UInt32] = []

        init(_ connection: any RealConnection) {
            self.connection = connection
        }
    }

    init(socketPath: String, ringDirectory: String?) throws {
        self.socketPath = socketPath
        self.ringDirectory = ringDirectory
        control = Link(try RealSocket(path: socketPath))
    }

    /// Runs the steps on clean stores; nil if they agree.
    func run(_ steps: [Step]) throws -> Difference? {
        try clean()
        for (index, step) in steps.enumerated() {
            do {
                if let difference = try run(step, index) { return difference }
            } catch {
                throw RealStoreFailure(description: "step \(index), \(step): \(error)")
            }
        }
        return nil
    }

    // MARK: One step

    private func run(_ step: Step, _ index: Int) throws -> Difference? {
        guard let link = try link(step.client), let id = ours[step.client] else { return nil }
        guard case .request(let operation, let transaction, let payload, let pieces) = step.event else {
            close(step.client)
            return try compare(index, [:], others(than: step.client))
        }
        let number = self.number(transaction, link)
        let message = StoreMessage(
            operation,
            request: 7,
            transaction: StoreTransactionID(rawValue: number),
            payload: payload
        )
        let answers = ask(message, id)
        try send(message, pieces, on: link)
        note(message, answers[id] ?? [], link)
        // Once whoever asked has its reply, the events of the others are on their way.
        if let difference = try compare(index, answers, [step.client]) { return difference }
        if answers[id]?.contains(where: { $0.operation == operation }) ?? true { try followDomains(message) }
        return try compare(index, answers, others(than: step.client))
    }

    private func number(_ transaction: Step.Transaction, _ link: Link) -> UInt32 {
        switch transaction {
        case .none: 0
        case .number(let number): number
        case .open(let index): link.open.isEmpty ? 0 : link.open[index % link.open.count]
        }
    }

    private func note(_ message: StoreMessage, _ answers: [StoreMessage], _ link: Link) {
        guard let reply = answers.first(where: { !$0.isEvent }) else { return }
        if reply.operation == .transactionStart {
            link.open.append(UInt32(String(decoding: reply.payload.dropLast(), as: UTF8.self)) ?? 0)
        }
        if message.operation == .transactionEnd, reply.payload != Array("EINVAL\0".utf8) {
            link.open.removeAll { $0 == message.transaction.rawValue }
        }
        if reply.operation == .resetWatches { link.open = [] }
    }

    private func send(_ message: StoreMessage, _ pieces: [Int], on link: Link) throws {
        var rest = message.encoded[...]
        for piece in pieces where rest.count > piece {
            try link.connection.send(rest.prefix(piece))
            rest = rest.dropFirst(piece)
        }
        try link.connection.send(rest)
    }

    // MARK: Our side

    private func ask(_ message: StoreMessage, _ id: StoreConnectionID) -> [StoreConnectionID: [StoreMessage]] {
        var outputs: [StoreOutput] = []
        store.handle(message, from: id, into: &outputs)
        var answers: [StoreConnectionID: [StoreMessage]] = [:]
        for output in outputs {
            switch output {
            case .message(let message, let to):
                // Nothing was sent since the step began: equal events merge.
                let isMerged =
                    message.isEvent && message.payload.first != UInt8(ascii: "@")
                    && answers[to, default: []].contains(message)
                if !isMerged { answers[to, default: []].append(message) }
            case .introduced(let introduction):
                rings[introduction.domain] = introduction.connection
            case .disconnected, .released:
                break
            }
        }
        return answers
    }

    // MARK: Comparing

    private func others(than asker: Client) -> [Client] {
        real.keys.filter { $0 != asker }.sorted { $0.description < $1.description }
    }

    private func compare(
        _ index: Int,
        _ answers: [StoreConnectionID: [StoreMessage]],
        _ clients: [Client]
    ) throws -> Difference? {
        for client in clients {
            guard let link = real[client], let id = ours[client] else { continue }
            // The daemon forgot this guest within the step.
            guard store.domain(of: id) != nil else { continue }
            let expected = (answers[id] ?? []).map { describe($0, offset: 0) }
            let seen = try drain(link).map { describe($0, offset: stampOffset) }
            compared += 1
            if !agree(seen, expected) {
                return Difference(step: index, client: client, real: seen, ours: expected)
            }
        }
        return nil
    }

    /// Whether answers count as equal: which error a malformed request gets is left from an earlier one (R26).
    private func agree(_ real: [String], _ ours: [String]) -> Bool {
        guard real.count == ours.count else { return false }
        return zip(real, ours).allSatisfy { left, right in
            left == right || (right.hasPrefix("ERROR") && right.contains("EINVAL") && left.hasPrefix("ERROR"))
        }
    }

    /// All that came, up to and without the answer to a harmless request.
    private func drain(_ link: Link) throws -> [StoreMessage] {
        let barrier = StoreMessage(.getDomainPath, request: 0xB0_0000, payload: [0x30, 0])
        try link.connection.send(barrier.encoded[...])
        var messages: [StoreMessage] = []
        while true {
            switch link.decoder.next() {
            case .message(let message):
                if message.request == barrier.request { return messages }
                messages.append(message)
            case .needMore:
                guard try link.connection.receive(into: &link.decoder) else {
                    throw RealStoreFailure(description: "the daemon closed a connection")
                }
            case .protocolError:
                throw RealStoreFailure(description: "the daemon sent a malformed message")
            }
        }
    }

    private func describe(_ message: StoreMessage, offset: Int64) -> String {
        var payload = message.payload
        if message.operation == .directoryPart, let nul = payload.firstIndex(of: 0),
            let stamp = Int64(String(decoding: payload[..<nul], as: UTF8.self))
        {
            payload.replaceSubrange(..<nul, with: Array(String(stamp - offset).utf8))
        }
        let text =
            payload.count > 200
            ? "\(payload.count) bytes, \(payload.hashValue)" : String(decoding: payload, as: UTF8.self)
        return
            "\(message.operation) \(message.request) \(message.transaction.rawValue) \(text.replacing("\0", with: "|"))"
    }

    // MARK: Clients

    private func link(_ client: Client) throws -> Link? {
        if let link = real[client] { return link }
        switch client {
        case .socket:
            real[client] = Link(try RealSocket(path: socketPath))
            ours[client] = store.connect(as: .dom0)
            // The daemon takes connections before requests of the same turn only if it has seen them.
            if let link = real[client] { _ = try drain(link) }
        case .guest:
            return nil
        }
        return real[client]
    }

    private func close(_ client: Client) {
        guard case .socket = client, let id = ours.removeValue(forKey: client) else { return }
        store.disconnect(id)
        real[client] = nil
    }

    /// After INTRODUCE and RELEASE: guests come with a fresh ring, and go.
    private func followDomains(_ message: StoreMessage) throws {
        guard message.operation == .introduce || message.operation == .release, let directory = ringDirectory else {
            return
        }
        for (domain, id) in rings {
            let client = Client.guest(domain.rawValue)
            let number = Array("\(domain)\0".utf8)
            if store.domain(of: id) == nil {
                rings[domain] = nil
                ours[client] = nil
                real[client] = nil
            } else if message.operation == .introduce, message.payload.starts(with: number) || real[client] == nil {
                ours[client] = id
                real[client] = Link(try RealRing(directory: directory, domain: domain.rawValue))
            }
        }
    }

    // MARK: Cleaning

    /// Brings the daemon back to the tree it starts with, and begins a store of ours.
    private func clean() throws {
        real = [:]
        ours = [:]
        rings = [:]
        // A domain with a target goes before its target.
        for domain in [3, 2, 1] { try releaseForGood(domain) }
        for special in ["@introduceDomain", "@releaseDomain"] { _ = try request(.setPermissions, "\(special)\0n0\0") }
        for path in ["/", "/tool", "/tool/xenstored"] {
            while let child = try firstStrange(below: path) {
                _ = try request(.remove, (path == "/" ? "/" : path + "/") + child + "\0")
            }
            _ = try request(.write, path + "\0")
        }
        // Their stamps are to follow one another, as in a store that was just made.
        for path in ["/", "/tool", "/tool/xenstored"] { _ = try request(.setPermissions, path + "\0n0\0") }
        store = StoreServer(existence: .announced)
        for domain in 1...3 { store.domainCreated(DomainID(UInt16(domain))) }
        let stamp = try request(.directoryPart, "/\0\(0)\0").prefix { $0 != 0 }
        let known = store.listingStamp
        stampOffset = (Int64(String(decoding: stamp, as: UTF8.self)) ?? 0) - known
    }

    /// The first child that a store does not start with.
    private func firstStrange(below path: String) throws -> String? {
        let part = try request(.directoryPart, path + "\0\(0)\0")
        let names = part.split(separator: 0).dropFirst().map { String(decoding: $0, as: UTF8.self) }
        return names.first { $0 != "tool" && $0 != "xenstored" }
    }

    private func releaseForGood(_ domain: Int) throws {
        for _ in 0..<8 {
            guard try request(.isDomainIntroduced, "\(domain)\0") == [0x54, 0] else { return }
            _ = try request(.release, "\(domain)\0")
        }
        throw RealStoreFailure(description: "domain \(domain) cannot be released")
    }

    private func request(_ operation: StoreOperation, _ payload: String) throws -> [UInt8] {
        try send(StoreMessage(operation, payload: Array(payload.utf8)), [], on: control)
        return try drain(control).first { !$0.isEvent }?.payload ?? []
    }
}

extension StoreServer {
    /// The stamp of the last write of a store that was just made: what the cleaning's last write has in the daemon.
    fileprivate var listingStamp: Int64 {
        var copy = self
        let id = copy.connect(as: .dom0)
        var outputs: [StoreOutput] = []
        copy.handle(StoreMessage(.directoryPart, payload: Array("/\0\(0)\0".utf8)), from: id, into: &outputs)
        guard case .message(let reply, _)? = outputs.first else { return 0 }
        return Int64(String(decoding: reply.payload.prefix { $0 != 0 }, as: UTF8.self)) ?? 0
    }
}
