// SPDX-License-Identifier: MIT

import Testing
import XenInterface
import XenStore

/// What a guest may use up, and that nobody else is the worse for it (D41).
struct QuotaTests {
    private var store = StoreServer()
    private let toolstack: StoreConnectionID
    private let guest: StoreConnectionID
    private let home = StorePath.domain(DomainID(1))

    init() {
        toolstack = store.connect(as: .dom0)
        guest = store.connect(as: DomainID(1))
        ask(.makeDirectory(home), as: toolstack)
        ask(.setPermissions(home, StorePermissions(owner: DomainID(1))), as: toolstack)
    }

    @discardableResult
    private mutating func ask(
        _ request: StoreRequest,
        _ transaction: StoreTransactionID = .none,
        as client: StoreConnectionID? = nil
    ) -> StoreReply {
        var outputs: [StoreOutput] = []
        return store.perform(request, in: transaction, on: client ?? guest, into: &outputs)
    }

    /// A path in one of many directories, so that no directory grows too large.
    private func path(_ number: Int) -> StorePath {
        home.appending("d\(number / 50)").appending("n\(number)")
    }

    @Test mutating func `a guest owns a thousand nodes and no more`() {
        let before = store.nodeCount
        var refused = 0
        for number in 0..<1100 where ask(.write(path(number), "v")) != .done { refused += 1 }
        // Its home is the first of the thousand.
        #expect(store.nodeCount - before == 999)
        #expect(ask(.write(path(2000), "v")) == .failure(.noSpace))
        #expect(ask(.write(path(0), "w")) == .done)
        #expect(ask(.remove(path(0))) == .done)
        #expect(ask(.write(path(0), "v")) == .done)
        #expect(ask(.write(path(2000), "v"), as: toolstack) == .done)
        #expect(refused > 100)
    }

    @Test mutating func `nodes made in a transaction count at its commit`() {
        for number in 0..<900 { ask(.write(path(number), "v")) }
        guard case .transaction(let transaction) = ask(.beginTransaction) else { return }
        for number in 900..<1050 { #expect(ask(.write(path(number), "v"), transaction) == .done) }
        let before = store.nodeCount
        #expect(ask(.endTransaction(commit: true), transaction) == .failure(.noSpace))
        #expect(store.nodeCount == before)
        #expect(store.transactionCount == 0)
    }

    @Test mutating func `a transaction touches 1024 nodes at most, and fails for good beyond`() {
        guard case .transaction(let transaction) = ask(.beginTransaction) else { return }
        var first: Int?
        for number in 0..<1100 where ask(.read(path(number)), transaction) == .failure(.noSpace) {
            first = first ?? number
        }
        #expect(first != nil)
        #expect(ask(.endTransaction(commit: true), transaction) == .failure(.noMemory))
    }

    @Test mutating func `five permissions are granted, six are not`() {
        let list = { (count: Int) in
            StorePermissions(
                owner: DomainID(1),
                (1..<count).map { StorePermissions.Entry(DomainID(UInt16($0)), .read) }
            )
        }
        #expect(ask(.setPermissions(home, list(5))) == .done)
        #expect(ask(.setPermissions(home, list(6))) == .failure(.noSpace))
        #expect(ask(.setPermissions(home, list(6)), as: toolstack) == .done)
    }

    @Test mutating func `a node is smaller than 2048 bytes, its header and permissions included`() {
        let value = { StoreValue([UInt8](repeating: 1, count: $0)) }
        #expect(ask(.write(home.appending("x"), value(2015))) == .done)
        #expect(ask(.write(home.appending("x"), value(2016))) == .failure(.noSpace))
        #expect(ask(.write(home.appending("y"), value(2016))) == .failure(.noSpace))
        #expect(ask(.write(home.appending("y"), value(4000)), as: toolstack) == .done)
        #expect(ask(.directory(home)) == .children(["x", "y"]))
    }

    @Test mutating func `a path of 2048 bytes passes, without the caller's own directory`() {
        let name = String(repeating: "x", count: 2048)
        #expect(ask(.read(home.appending(name))) == .failure(.noEntry))
        #expect(ask(.read(home.appending(name + "x"))) == .failure(.invalid))
        #expect(ask(.read(.root.appending(String(name.dropLast()))), as: toolstack) == .failure(.noEntry))
        #expect(ask(.read(.root.appending(name)), as: toolstack) == .failure(.invalid))
    }
}
