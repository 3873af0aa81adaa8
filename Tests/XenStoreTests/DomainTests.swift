// SPDX-License-Identifier: MIT

import Testing
import XenInterface
import XenStore

/// Domains that come and go (D15, D23 to D25).
struct DomainTests {
    private var store = StoreServer()
    private let toolstack: StoreConnectionID
    private var outputs: [StoreOutput] = []
    private let guest = DomainID(1)
    private let other = DomainID(2)
    private let node = StorePath.root.appending("t")

    init() {
        toolstack = store.connect(as: .dom0)
    }

    @discardableResult
    private mutating func ask(_ request: StoreRequest, as client: StoreConnectionID? = nil) -> StoreReply {
        store.perform(request, on: client ?? toolstack, into: &outputs)
    }

    private mutating func introduce(_ domain: DomainID, port: UInt32 = 5) -> StoreIntroduction? {
        outputs = []
        ask(.introduce(domain, FrameNumber(77), EventChannelPort(port)))
        let introductions = outputs.compactMap { if case .introduced(let new) = $0 { new } else { nil } }
        return introductions.first
    }

    /// The kinds of what goes to the toolstack, in order.
    private mutating func answers(to message: StoreMessage) -> [String] {
        outputs = []
        store.handle(message, from: toolstack, into: &outputs)
        return outputs.compactMap { output in
            guard case .message(let message, toolstack) = output else { return nil }
            return message.isEvent ? String(decoding: message.payload, as: UTF8.self) : message.operation.description
        }
    }

    @Test mutating func `an introduced domain has a connection for its ring`() throws {
        let first = try #require(introduce(guest))
        #expect(first.domain == guest && first.frame == FrameNumber(77) && first.port == EventChannelPort(5))
        #expect(!first.isRepeated)
        #expect(store.domain(of: first.connection) == guest)
        #expect(ask(.isIntroduced(guest)) == .flag(true))
        #expect(ask(.isIntroduced(other)) == .flag(false))
        #expect(ask(.isIntroduced(.current)) == .flag(true))
    }

    @Test mutating func `a domain that is introduced again keeps its connection and loses watches and transactions`()
        throws
    {
        let first = try #require(introduce(guest))
        ask(.watch(node, token: "t"), as: first.connection)
        ask(.beginTransaction, as: first.connection)
        let again = try #require(introduce(guest, port: 6))
        #expect(again.isRepeated && again.connection == first.connection && again.port == EventChannelPort(6))
        #expect(store.watchCount == 0 && store.transactionCount == 0)
    }

    @Test mutating func `port 0 and numbers that are no domain's are refused`() {
        #expect(introduce(guest, port: 0) == nil)
        #expect(introduce(.current) == nil)
    }

    @Test mutating func `a released domain takes its nodes along`() throws {
        let ring = try #require(introduce(guest)).connection
        ask(.write(node.appending("own"), "1"))
        ask(.setPermissions(node.appending("own"), StorePermissions(owner: guest)))
        ask(.write(node.appending("own").appending("below"), "1"))
        ask(.write(node.appending("shared"), "1"))
        outputs = []
        #expect(ask(.release(guest)) == .done)
        #expect(outputs == [.disconnected(ring), .released(guest)])
        #expect(ask(.directory(node)) == .children(["shared"]))
        #expect(store.domain(of: ring) == nil)
        #expect(ask(.read(node), as: ring) == .failure(.inputOutput))
        #expect(ask(.release(guest)) == .failure(.noEntry))
    }

    @Test mutating func `the reply to RELEASE goes first only if the domain was connected next after the client`()
        throws
    {
        let release = StoreMessage(.release, payload: Array("1\u{0}".utf8))
        ask(.watch(.releaseDomain, token: "t"))
        _ = try #require(introduce(guest))
        #expect(answers(to: release) == ["RELEASE", "@releaseDomain\u{0}t\u{0}"])
        _ = store.connect(as: .dom0)
        _ = try #require(introduce(guest))
        #expect(answers(to: release) == ["@releaseDomain\u{0}t\u{0}", "RELEASE"])
    }

    @Test mutating func `a target stays until the domain that has it is gone`() throws {
        _ = try #require(introduce(guest))
        let deputy = try #require(introduce(other)).connection
        ask(.write(node, "1"))
        ask(.setPermissions(node, StorePermissions(owner: guest)))
        #expect(ask(.write(node, "2"), as: deputy) == .failure(.accessDenied))
        #expect(ask(.setTarget(other, target: guest)) == .done)
        #expect(ask(.write(node, "2"), as: deputy) == .done)
        #expect(ask(.write(node, "2"), as: store.connect(as: other)) == .done)
        outputs = []
        store.domainDestroyed(guest, into: &outputs)
        #expect(outputs == [])
        #expect(ask(.read(node)) == .value("2"))
        store.domainDestroyed(other, into: &outputs)
        #expect(outputs.contains(.released(guest)) && outputs.contains(.released(other)))
        #expect(ask(.read(node)) == .failure(.noEntry))
    }

    @Test mutating func `permissions of a domain that is gone are not those of the next of its number`() throws {
        let first = try #require(introduce(guest)).connection
        ask(.write(node, "1"))
        ask(.setPermissions(node, .owned(by: .dom0, readableBy: guest)))
        #expect(ask(.read(node), as: first) == .value("1"))
        ask(.release(guest))
        // The stamps tell a newer domain from an older node only once something was written in between.
        ask(.write(.root.appending("elsewhere"), "1"))
        let second = try #require(introduce(guest)).connection
        #expect(ask(.read(node), as: second) == .failure(.accessDenied))
        // Writing the node anew does not bring them back, though they are still shown.
        ask(.write(node, "2"))
        #expect(ask(.read(node), as: second) == .failure(.accessDenied))
        #expect(ask(.getPermissions(node)) == .permissions(.owned(by: .dom0, readableBy: guest)))
        ask(.setPermissions(node, .owned(by: .dom0, readableBy: guest)))
        #expect(ask(.read(node), as: second) == .value("2"))
    }

    @Test mutating func `only announced domains can own, where the world announces them`() {
        store = StoreServer(existence: .announced)
        let client = store.connect(as: .dom0)
        ask(.makeDirectory(node), as: client)
        let list = StorePermissions(owner: DomainID(9))
        #expect(ask(.setPermissions(node, list), as: client) == .failure(.noEntry))
        store.domainCreated(DomainID(9))
        #expect(ask(.setPermissions(node, list), as: client) == .done)
    }

    @Test mutating func `a guest hears of domains once it may`() throws {
        let ring = try #require(introduce(guest)).connection
        ask(.watch(.introduceDomain, token: "t"), as: ring)
        outputs = []
        _ = introduce(other)
        #expect(!outputs.contains { if case .message(_, ring) = $0 { true } else { false } })
        ask(.setPermissions(.introduceDomain, StorePermissions(owner: .dom0, others: .read)))
        _ = introduce(DomainID(3))
        #expect(outputs.contains { if case .message(_, ring) = $0 { true } else { false } })
    }

    @Test mutating func `a guest may not set who hears of domains`() throws {
        let ring = try #require(introduce(guest)).connection
        let list = StorePermissions(owner: guest, others: .read)
        #expect(ask(.setPermissions(.introduceDomain, list), as: ring) == .failure(.accessDenied))
    }

    @Test(arguments: [
        StorePermissions(owner: .dom0, [.init(DomainID(1), .read)]), StorePermissions(owner: DomainID(1)),
    ])
    mutating func `what a domain was allowed to hear is not for the next of its number`(list: StorePermissions) throws {
        _ = try #require(introduce(guest))
        #expect(ask(.setPermissions(.introduceDomain, list)) == .done)
        #expect(ask(.release(guest)) == .done)
        let ring = try #require(introduce(guest)).connection
        ask(.watch(.introduceDomain, token: "t"), as: ring)
        _ = introduce(other)
        #expect(!outputs.contains { if case .message(_, ring) = $0 { true } else { false } })
    }

    @Test mutating func `a client that is not listened to any more loses watches and transactions (D47)`() throws {
        let ring = try #require(introduce(guest)).connection
        ask(.watch(node, token: "t"), as: ring)
        ask(.beginTransaction, as: ring)
        store.ignore(ring)
        #expect(store.watchCount == 0 && store.transactionCount == 0)
        #expect(store.domain(of: ring) == guest)
    }
}

/// The store that clients of one process share.
struct HostTests {
    @Test func `each client gets its events, equal ones once`() throws {
        let host = StoreHost()
        let toolstack = host.connect(as: .dom0)
        let watcher = host.connect(as: .dom0)
        let node = StorePath.root.appending("t")
        #expect(watcher.perform(.watch(node, token: "w"), in: .none) == .done)
        for _ in 0..<3 { #expect(toolstack.perform(.write(node, "1"), in: .none) == .done) }
        #expect(watcher.nextWatchEvent() == StoreWatchEvent(path: node, token: "w"))
        #expect(watcher.nextWatchEvent() == nil)
        #expect(toolstack.nextWatchEvent() == nil)
        #expect(!host.hasEvents(watcher.id))
        host.disconnect(watcher.id)
        #expect(watcher.perform(.read(node), in: .none) == .failure(.inputOutput))
    }

    @Test func `an event that fits no message is lost (D32)`() {
        let host = StoreHost()
        let client = host.connect(as: .dom0)
        let node = StorePath.root.appending("t")
        // The path of the change, the token and a NUL behind each: 4096 bytes, and one more.
        let tokens = [4090, 4091].map { String(repeating: "k", count: $0) }
        for token in tokens { #expect(client.perform(.watch(node, token: token), in: .none) == .done) }
        while client.nextWatchEvent() != nil {}
        #expect(client.perform(.write(node.appending("a"), "v"), in: .none) == .done)
        #expect(client.nextWatchEvent() == StoreWatchEvent(path: node.appending("a"), token: tokens[0]))
        #expect(client.nextWatchEvent() == nil)
    }

    @Test func `a machine that knows only the protocol runs against it`() throws {
        func readBack(_ connection: inout some StoreConnection) -> StoreReply {
            _ = connection.perform(.write(.root.appending("t"), "1"), in: .none)
            return connection.perform(.read(.root.appending("t")), in: .none)
        }
        var connection = StoreHost().connect(as: .dom0)
        #expect(readBack(&connection) == .value("1"))
    }
}
