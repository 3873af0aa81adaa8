// SPDX-License-Identifier: MIT

import Testing
import XenInterface
import XenStore

@testable import XenChannelIO

/// What other stores do differently, as a client on the socket sees it (R21, D43); each beside what C xenstored does.
@Suite(.longest)
struct OtherStoreTests {
    private let folder: Folder
    private let services: [StoreService]
    private let hosts = [LiveHost(), LiveHost(storeRules: .oxenstored)]

    init() throws {
        let folder = try Folder()
        self.folder = folder
        services = try zip(["c", "o"], hosts).map { try StoreService(path: folder($0), of: $1) }
    }

    private func connections() throws -> [StoreSocketConnection] {
        try services.map { try StoreSocketConnection(path: $0.path) }
    }

    @Test func `listings are sorted`() throws {
        let replies = try connections().map { store in
            for name in ["b", "c", "a"] { #expect(store.perform(.write(.root.appending("t/\(name)"), "")) == .done) }
            return store.perform(.directory(.root.appending("t")))
        }
        #expect(replies == [.children(["b", "c", "a"]), .children(["a", "b", "c"])])
    }

    @Test func `an event comes behind the reply to the request that fires it`() throws {
        let path = StorePath.root.appending("t")
        for (store, isThere) in zip(try connections(), [true, false]) {
            #expect(store.perform(.watch(path, token: "w")) == .done)
            #expect(store.perform(.read(.root)) == .value(""))
            #expect(store.nextWatchEvent()?.path == path)
            #expect(store.perform(.write(path.appending("a"), "")) == .done)
            #expect((store.nextWatchEvent() != nil) == isThere)
            #expect(store.perform(.read(.root)) == .value(""))
            #expect((store.nextWatchEvent() != nil) == !isThere)
        }
    }

    @Test func `siblings that two transactions make are both there`() throws {
        let top = StorePath.root.appending("t")
        for (store, expected) in zip(try connections(), [StoreReply.failure(.again), .done]) {
            #expect(store.perform(.makeDirectory(top)) == .done)
            let transactions = [0, 1].map { _ in store.perform(.beginTransaction) }
            for (number, transaction) in transactions.enumerated() {
                guard case .transaction(let id) = transaction else { throw StoreErrorCode.invalid }
                #expect(store.perform(.write(top.appending("\(number)"), ""), in: id) == .done)
            }
            let ends = transactions.map { transaction in
                guard case .transaction(let id) = transaction else { return StoreReply.failure(.invalid) }
                return store.perform(.endTransaction(commit: true), in: id)
            }
            #expect(ends == [.done, expected])
        }
    }

    @Test func `commits that fail for nothing are tried again by the client`() async throws {
        let client = try StoreClient(path: services[1].path)
        hosts[1].refuseCommits(2)
        var attempts = 0
        try await client.transaction { transaction throws(XenStoreError) in
            attempts += 1
            try await client.write(.root.appending("t"), StoreValue(decimal: attempts), in: transaction)
        }
        #expect(attempts == 3)
        #expect(try await client.read(.root.appending("t")) == "3")
    }
}
