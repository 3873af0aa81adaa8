// SPDX-License-Identifier: MIT

import Testing
import XenInterface

@testable import XenStore

/// Random requests of a few clients, to the store and to a deliberately naive one.
struct ModelTests {
    @Test(arguments: 0..<60 as Range<UInt64>)
    func `random requests have the same answers and events as in the naive store`(seed: UInt64) {
        var run = ModelRun(seed: seed)
        for _ in 0..<400 {
            if let difference = run.step() {
                Issue.record(
                    "seed \(seed): \(difference)\nlast steps:\n\(run.history.suffix(25).joined(separator: "\n"))"
                )
                return
            }
        }
        for client in run.clients { run.store.disconnect(client) }
        #expect(run.store.watchCount == 0, "seed \(seed)")
        #expect(run.store.transactionCount == 0, "seed \(seed)")
        // Every entry that is left is a node: nothing holds on to paths that nobody refers to.
        #expect(run.store.tree.entryCount == run.store.nodeCount, "seed \(seed)")
        #expect(run.store.tree.entries.allSatisfy { $0.snapshots == 0 }, "seed \(seed)")
    }

    @Test(arguments: 100..<120 as Range<UInt64>)
    func `the wire says what the typed requests say`(seed: UInt64) throws {
        var run = ModelRun(seed: seed)
        for _ in 0..<200 {
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
            #expect(replies.count == 1, "seed \(seed): \(request)")
            let answer = try #require(replies.first)
            #expect(StoreReply(answer, to: request.operation) == reply, "seed \(seed): \(request)")
            #expect(answer.request == 9 && answer.transaction == transaction)
            #expect(wire.filter { $0 != .message(answer, to: client) } == typed, "seed \(seed): \(request)")
            #expect(other == run.store, "seed \(seed): \(request)")
        }
    }
}

struct ModelRun {
    var store = StoreServer()
    var model = NaiveStore()
    var random: SplitMix
    var clients: [StoreConnectionID] = []
    var open: [StoreConnectionID: [StoreTransactionID]] = [:]
    var history: [String] = []

    init(seed: UInt64) {
        random = SplitMix(seed: seed)
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
        let client = random.pick(clients)
        let mine = open[client] ?? []
        let request = request(canBegin: mine.count < 3)
        var transaction = mine.isEmpty || random.below(3) == 0 ? StoreTransactionID.none : random.pick(mine)
        if case .resetWatches = request { transaction = .none }
        if case .beginTransaction = request, random.below(8) > 0 { transaction = .none }
        return (request, transaction, client)
    }

    private mutating func request(canBegin: Bool) -> StoreRequest {
        switch random.below(30) {
        case 0..<7: .write(path(), StoreValue(decimal: random.below(5)))
        case 7..<10: .read(path())
        case 10..<12: .directory(path())
        case 12..<14: .makeDirectory(path())
        case 14..<17: .remove(path())
        case 17: .getPermissions(path())
        case 18..<21: .setPermissions(path(), permissions())
        case 21..<23: .watch(path(), token: random.pick(["1", "2"]))
        case 23: .unwatch(path(), token: random.pick(["1", "2"]))
        case 24, 25: canBegin ? .beginTransaction : .read(path())
        case 26..<29: .endTransaction(commit: random.below(5) > 0)
        default: random.below(6) == 0 ? .resetWatches : .read(path())
        }
    }

    private mutating func path() -> StorePath {
        let root = random.pick(["/t", "/t", "/t", "/local/domain/1", "data", "/local/domain/2/data", "/u"])
        let tail = random.pick(["", "", "/a", "/b", "/a/b", "/a/b/c", "/a/c", "/c/d/e"])
        return StorePath(root + tail) ?? .root
    }

    private mutating func permissions() -> StorePermissions {
        let domains = [DomainID.dom0, DomainID(1), DomainID(2)]
        let accesses = StoreAccess.all
        let entries = (0..<random.below(3)).map { _ in
            StorePermissions.Entry(random.pick(domains), random.pick(accesses))
        }
        return StorePermissions(owner: random.pick(domains), others: random.pick(accesses), entries)
    }
}

extension StoreAccess {
    fileprivate static let all: [StoreAccess] = [.none, .read, .write, .both]
}
