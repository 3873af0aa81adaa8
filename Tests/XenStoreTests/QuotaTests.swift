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
        // One more may be made, but not with a directory for it.
        #expect(ask(.remove(path(0))) == .done)
        #expect(ask(.write(home.appending("p").appending("q"), "v")) == .failure(.noSpace))
        #expect(ask(.read(home.appending("p"))) == .failure(.noEntry))
        #expect(ask(.write(home.appending("p"), "v")) == .done)
        #expect(ask(.write(path(2000), "v"), as: toolstack) == .done)
        #expect(refused > 100)
    }

    @Test mutating func `nodes made in a transaction count at its commit`() {
        for number in 0..<900 { ask(.write(path(number), "v")) }
        guard case .transaction(let transaction) = ask(.beginTransaction) else { return }
        for number in 900..<1050 { #expect(ask(.write(path(number), "v"), transaction) == .done) }
        // Too many counts before a conflict.
        ask(.write(home, "v"), as: toolstack)
        let before = store.nodeCount
        #expect(ask(.endTransaction(commit: true), transaction) == .failure(.noSpace))
        #expect(store.nodeCount == before)
        #expect(store.transactionCount == 0)
    }

    @Test mutating func `a transaction touches 1024 nodes at most, and fails for good beyond`() {
        guard case .transaction(let transaction) = ask(.beginTransaction) else { return }
        // Its home is the first of them.
        for number in 0..<1023 {
            #expect(ask(.read(home.appending("n\(number)")), transaction) == .failure(.noEntry))
        }
        #expect(ask(.read(home.appending("x")), transaction) == .failure(.noSpace))
        #expect(ask(.endTransaction(commit: true), transaction) == .failure(.noMemory))
    }

    @Test mutating func `a transaction that failed leaves nothing to the next one`() {
        let large = StoreValue([UInt8](repeating: 0x61, count: 3000))
        guard case .transaction(let failed) = ask(.beginTransaction) else { return }
        #expect(ask(.write(path(1), large), failed) == .failure(.noSpace))
        #expect(ask(.endTransaction(commit: true), failed) == .failure(.noMemory))
        guard case .transaction(let next) = ask(.beginTransaction) else { return }
        #expect(ask(.write(path(1), "v"), next) == .done)
        #expect(ask(.endTransaction(commit: true), next) == .done)
        #expect(ask(.read(path(1))) == .value("v"))
        guard case .transaction(let last) = ask(.beginTransaction) else { return }
        let count = store.nodeCount
        #expect(ask(.endTransaction(commit: true), last) == .done)
        #expect(store.nodeCount == count && store.transactionCount == 0)
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

    @Test(arguments: [("n1|r0|r2|r3|r0|x0", "ENOSPC"), ("n1|r0|r2|r3|x0", "EINVAL"), ("n1|r0|r2|r3|r0", "OK")])
    mutating func `too many permissions count before malformed ones`(list: String, expected: String) {
        let text = "\(home)|\(list)|".replacing("|", with: "\0")
        var outputs: [StoreOutput] = []
        store.handle(StoreMessage(.setPermissions, payload: Array(text.utf8)), from: guest, into: &outputs)
        #expect(outputs.count == 1)
        guard case .message(let reply, guest)? = outputs.last else { return }
        #expect(String(decoding: reply.payload.dropLast(), as: UTF8.self) == expected)
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

    /// `sscanf` with `%5u`: a sign and digits, five characters at most.
    @Test(arguments: [
        ("99999", true), ("-1234", true), ("123456", false), ("-12345", false), ("1-2", false), ("-", false),
    ])
    mutating func `what goes before a long path is a domain's directory only with a number in it`(
        name: String,
        isNumber: Bool
    ) {
        let path = StorePath.root.appending("local/domain").appending(name).appending(
            String(repeating: "x", count: 2048)
        )
        #expect(ask(.read(path), as: toolstack) == .failure(isNumber ? .noEntry : .invalid))
    }
}

/// What a guest pays for in bytes of the store's memory, by the numbers that a real xenstored 4.17.7 told (D41).
struct MemoryTests {
    private var store: StoreServer
    private let toolstack: StoreConnectionID
    private let guest: StoreConnectionID
    private let data = StorePath.domain(DomainID(1)).appending("data")

    init() {
        self.init(quota: StoreQuotas().memory)
    }

    private init(quota: Int) {
        var rules = StoreRules()
        rules.quotas.memory = quota
        store = StoreServer(rules: rules)
        toolstack = store.connect(as: .dom0)
        guest = store.connect(as: DomainID(1))
        // Stamps of two digits, as in the recording.
        for number in 0..<10 { ask(.write(StorePath.root.appending("x\(number)"), ""), as: toolstack) }
        ask(.makeDirectory(data), as: toolstack)
        ask(.setPermissions(data, StorePermissions(owner: DomainID(1))), as: toolstack)
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

    /// The operation of the reply to a message, or the error's name, and how many events came with it.
    private mutating func send(_ message: StoreMessage) -> (reply: String, events: Int) {
        var outputs: [StoreOutput] = []
        store.handle(message, from: guest, into: &outputs)
        var reply = ""
        for case .message(let message, _) in outputs where !message.isEvent {
            let text = String(decoding: message.payload.dropLast(), as: UTF8.self)
            reply = message.operation == .error ? text : message.operation.description
        }
        return (reply, outputs.count - 1)
    }

    private var memory: Int { store.memory(of: DomainID(1)) }

    @Test mutating func `nodes, watches and copies in transactions count as recorded`() {
        let a = data.appending("a")
        #expect(memory == 52)
        ask(.write(a, "hello"))
        #expect(memory == 113)
        ask(.write(a, "hello!!"))
        #expect(memory == 115)
        ask(.watch(a, token: "tok"))
        #expect(memory == 140)
        ask(.unwatch(a, token: "tok"))
        #expect(memory == 115)
        guard case .transaction(let id) = ask(.beginTransaction) else { return }
        ask(.read(a), id)
        #expect(memory == 179)
        ask(.read(data.appending("none")), id)
        #expect(memory == 236)
        ask(.write(a, "x"), id)
        #expect(memory == 230)
        #expect(ask(.endTransaction(commit: true), id) == .done)
        #expect(memory == 109)
        ask(.remove(data))
        #expect(memory == 0)
    }

    @Test func `what would reach the quota is refused as recorded, and leaves nothing`() {
        var world = MemoryTests(quota: 4000)
        let value = StoreValue([UInt8](repeating: 0x76, count: 1900))
        #expect(world.ask(.write(world.data.appending("a"), value)) == .done)
        #expect(world.memory == 2008)
        #expect(world.ask(.write(world.data.appending("b"), value)) == .done)
        #expect(world.memory == 3964)
        #expect(world.ask(.write(world.data.appending("c"), value)) == .failure(.inputOutput))
        #expect(world.ask(.makeDirectory(world.data.appending("m"))) == .failure(.inputOutput))
        #expect(world.ask(.makeDirectory(world.data.appending("x/y/z"))) == .failure(.inputOutput))
        #expect(world.ask(.watch(world.data.appending("w"), token: "long enough for it")) == .failure(.noMemory))
        #expect(world.ask(.directory(world.data)) == .children(["a", "b"]))
        #expect(world.memory == 3964)
        #expect(world.ask(.watch(world.data.appending("a"), token: "t")) == .done)
        #expect(world.memory == 3987)
        let list = StorePermissions(owner: DomainID(1), (2...4).map { .init(DomainID($0), .read) })
        #expect(world.ask(.setPermissions(world.data.appending("a"), list)) == .failure(.noMemory))
        #expect(world.ask(.write(world.data.appending("a"), "")) == .done)
        #expect(world.memory == 2087)
    }

    @Test(arguments: [(77, StoreReply.failure(.noMemory)), (78, .done)])
    func `memory stays below the quota`(quota: Int, expected: StoreReply) {
        // 52 for the directory, 25 for the watch.
        var world = MemoryTests(quota: quota)
        #expect(world.ask(.watch(world.data.appending("a"), token: "tok")) == expected)
        #expect(world.memory == (expected == .done ? 77 : 52))
    }

    @Test func `domain 0 cannot make a guest pay beyond its quota, nor does it pay itself`() {
        var world = MemoryTests(quota: 4000)
        let value = StoreValue([UInt8](repeating: 0x76, count: 3900))
        #expect(world.ask(.write(world.data.appending("a"), value), as: world.toolstack) == .failure(.inputOutput))
        #expect(world.ask(.write(StorePath.root.appending("own"), value), as: world.toolstack) == .done)
        #expect(world.memory == 52)
        #expect(world.store.memory(of: .dom0) == 0)
    }

    @Test func `near the quota only small replies pass, and events are lost`() {
        var world = MemoryTests(quota: 2150)
        world.ask(.write(world.data.appending("a"), StoreValue([UInt8](repeating: 0x76, count: 1900))))
        #expect(world.ask(.watch(world.data, token: "t")) == .done)
        let path = "\(world.data)/a\u{0}"
        #expect(world.send(StoreMessage(.read, payload: Array(path.utf8))).reply == "ENOMEM")
        #expect(world.send(StoreMessage(.getPermissions, payload: Array(path.utf8))).reply == "GET_PERMS")
        #expect(world.send(StoreMessage(.write, payload: Array(path.utf8))) == ("WRITE", 1))
        world.ask(.write(world.data.appending("a"), StoreValue([UInt8](repeating: 0x76, count: 1980))))
        let longer = Array(path.utf8) + [UInt8](repeating: 0x76, count: 1981)
        #expect(world.send(StoreMessage(.write, payload: longer)) == ("WRITE", 0))
    }

    @Test func `a copy in a transaction is not refused, and stalls the guest until it is gone`() {
        var world = MemoryTests(quota: 4000)
        let value = StoreValue([UInt8](repeating: 0x76, count: 1900))
        for name in ["a", "b"] { world.ask(.write(world.data.appending(name), value)) }
        guard case .transaction(let id) = world.ask(.beginTransaction) else { return }
        #expect(!world.store.isStalled(world.guest))
        #expect(world.ask(.read(world.data.appending("a")), id) == .value(value))
        // As recorded: 3964, and the copy with a key that is three bytes longer.
        #expect(world.memory == 3964 + 24 + 8 + 1900 + 22 + 3)
        #expect(world.store.isStalled(world.guest) && !world.store.isStalled(world.toolstack))
        world.ask(.remove(world.data.appending("b")), as: world.toolstack)
        #expect(!world.store.isStalled(world.guest))
        #expect(world.ask(.endTransaction(commit: false), id) == .done)
    }
}
