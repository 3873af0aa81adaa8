// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenExploration
import XenInterface

@testable import XenStore

/// Random requests of a few clients, to the store and to a deliberately naive one.
struct ModelTests {
    @Test func `random requests have the same answers and events as in the naive store`() {
        checkProperty(cases: 60) { choices in
            var run = ModelRun(choices)
            defer { choices = run.random }
            for _ in 0..<400 {
                if let difference = run.step() {
                    throw PropertyViolation(
                        "\(difference)\nlast steps:\n\(run.history.suffix(25).joined(separator: "\n"))"
                    )
                }
            }
            for client in run.clients { run.store.disconnect(client) }
            try requireEqual(run.store.watchCount, 0, "watches")
            try requireEqual(run.store.transactionCount, 0, "transactions")
            // Every entry that is left is a node: nothing holds on to paths that nobody refers to.
            try requireEqual(run.store.tree.entryCount, run.store.nodeCount, "entries")
            try requireEqual(run.store.tree.entries.count { $0.snapshots != 0 }, 0, "lists relied on")
            try run.requireMemoryOfNodes()
        }
    }

    @Test func `the wire says what the typed requests say`() {
        checkProperty(cases: 20) { choices in
            var run = ModelRun(choices)
            defer { choices = run.random }
            for _ in 0..<200 { try compare(&run) }
        }
    }

    private func compare(_ run: inout ModelRun) throws {
        let (request, transaction, client) = run.choose()
        var typed: [StoreOutput] = []
        var wire: [StoreOutput] = []
        var other = run.store
        let reply = run.store.perform(request, in: transaction, on: client, into: &typed)
        other.handle(request.message(request: 9, in: transaction), from: client, into: &wire)
        let replies = wire.compactMap { output -> StoreMessage? in
            guard case .message(let message, client) = output, !message.isEvent else { return nil }
            return message
        }
        guard let answer = replies.first, replies.count == 1 else {
            throw PropertyViolation("\(request) has \(replies.count) replies")
        }
        try requireEqual(StoreReply(answer, to: request.operation), reply, "\(request)")
        try requireEqual(answer.request, 9, "the number")
        try requireEqual(answer.transaction, transaction, "the transaction")
        try requireEqual(wire.filter { $0 != .message(answer, to: client) }, typed, "\(request)")
        guard other == run.store else { throw PropertyViolation("another store after \(request)") }
    }
}

struct ModelRun {
    var store = StoreServer()
    var model = NaiveStore()
    var random: Choices
    var clients: [StoreConnectionID] = []
    var open: [StoreConnectionID: [StoreTransactionID]] = [:]
    var history: [String] = []

    init(_ choices: Choices) {
        random = choices
        for (index, domain) in [DomainID.dom0, .dom0, DomainID(1), DomainID(2)].enumerated() {
            clients.append(store.connect(as: domain))
            model.domains[index] = domain
        }
        for (path, owner) in [("/local/domain/1", 1), ("/local/domain/2", 2), ("/t", 1)] as [(String, UInt16)] {
            guard let path = StorePath(path) else { continue }
            for request in [.makeDirectory(path), .setPermissions(path, StorePermissions(owner: DomainID(owner)))]
                as [StoreRequest]
            {
                var outputs: [StoreOutput] = []
                _ = store.perform(request, on: clients[0], into: &outputs)
                _ = model.perform(request, .none, client: 0)
            }
        }
    }

    mutating func step() -> String? {
        let (request, transaction, client) = choose()
        let index = clients.firstIndex(of: client) ?? 0
        history.append("client \(index), transaction \(transaction.rawValue): \(request)")
        var outputs: [StoreOutput] = []
        let reply = store.perform(request, in: transaction, on: client, into: &outputs)
        model.events = [:]
        let expected = model.perform(request, transaction, client: index)
        note(request, transaction, reply, client)
        if reply != expected { return "\(reply), not \(expected)" }
        for (index, client) in clients.enumerated() {
            let events = self.events(in: outputs, of: client)
            let wanted = model.events[index] ?? []
            if events != wanted { return "client \(index) gets \(events), not \(wanted)" }
        }
        return nil
    }

    /// What each guest pays for is what its nodes take, counted anew; nothing else is left to pay for (D41).
    func requireMemoryOfNodes() throws {
        for domain in [DomainID(1), DomainID(2)] {
            var expected = 0
            for (index, entry) in store.tree.entries.enumerated() where entry.exists {
                let list = store.permissions[entry.permissions]
                guard list[0].domain == Int32(domain.rawValue) else { continue }
                let names = store.tree.children(of: Place(index)).reduce(0) {
                    $0 + store.tree.name(of: $1).utf8.count + 1
                }
                expected += 24 + 8 * list.count + entry.value.count + names
                expected += store.tree.path(of: Place(index)).utf8.count
            }
            try requireEqual(store.memory(of: domain), expected, "memory of domain \(domain)")
        }
    }

    /// The events of a client, equal ones merged as in a queue.
    private func events(in outputs: [StoreOutput], of client: StoreConnectionID) -> [StoreWatchEvent] {
        outputs.reduce(into: []) { events, output in
            guard case .message(let message, client) = output, let event = StoreWatchEvent(message),
                !events.contains(event)
            else { return }
            events.append(event)
        }
    }

    mutating func note(
        _ request: StoreRequest,
        _ transaction: StoreTransactionID,
        _ reply: StoreReply,
        _ client: StoreConnectionID
    ) {
        if case .transaction(let number) = reply { open[client, default: []].append(number) }
        if case .endTransaction = request { open[client]?.removeAll { $0 == transaction } }
        if case .resetWatches = request, reply == .done { open[client] = [] }
    }

    mutating func choose() -> (StoreRequest, StoreTransactionID, StoreConnectionID) {
        let client = random.pick(from: clients)
        let mine = open[client] ?? []
        let request = request(canBegin: mine.count < 3)
        var transaction =
            mine.isEmpty || random.choose(below: 3) == 0 ? StoreTransactionID.none : random.pick(from: mine)
        if case .resetWatches = request { transaction = .none }
        if case .beginTransaction = request, random.choose(below: 8) > 0 { transaction = .none }
        return (request, transaction, client)
    }

    private mutating func request(canBegin: Bool) -> StoreRequest {
        switch random.choose(below: 30) {
        case 0..<7: .write(path(), StoreValue(decimal: random.choose(below: 5)))
        case 7..<10: .read(path())
        case 10..<12: .directory(path())
        case 12..<14: .makeDirectory(path())
        case 14..<17: .remove(path())
        case 17: .getPermissions(path())
        case 18..<21: .setPermissions(path(), permissions())
        case 21..<23: .watch(path(), token: random.pick(from: ["1", "2"]))
        case 23: .unwatch(path(), token: random.pick(from: ["1", "2"]))
        case 24, 25: canBegin ? .beginTransaction : .read(path())
        case 26..<29: .endTransaction(commit: random.choose(below: 5) > 0)
        default: random.choose(below: 6) == 0 ? .resetWatches : .read(path())
        }
    }

    private mutating func path() -> StorePath {
        let root = random.pick(from: ["/t", "/t", "/t", "/local/domain/1", "data", "/local/domain/2/data", "/u"])
        let tail = random.pick(from: ["", "", "/a", "/b", "/a/b", "/a/b/c", "/a/c", "/c/d/e"])
        return StorePath(root + tail) ?? .root
    }

    private mutating func permissions() -> StorePermissions {
        let domains = [DomainID.dom0, DomainID(1), DomainID(2)]
        let accesses = StoreAccess.all
        let entries = (0..<random.choose(below: 3)).map { _ in
            StorePermissions.Entry(random.pick(from: domains), random.pick(from: accesses))
        }
        return StorePermissions(owner: random.pick(from: domains), others: random.pick(from: accesses), entries)
    }
}

extension StoreAccess {
    fileprivate static let all: [StoreAccess] = [.none, .read, .write, .both]
}
