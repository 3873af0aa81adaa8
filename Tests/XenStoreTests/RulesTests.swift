// SPDX-License-Identifier: MIT

import Testing
import XenInterface
import XenStore

/// Each rule, seen by a client: what 4.17 does, and what the other store does.
struct RulesTests {
    private let directory = StorePath.root.appending("t")

    private struct World {
        var store: StoreServer
        let toolstack: StoreConnectionID
        let guest: StoreConnectionID

        init(_ rules: StoreRules) {
            store = StoreServer(rules: rules)
            toolstack = store.connect(as: .dom0)
            guest = store.connect(as: DomainID(1))
        }

        @discardableResult
        mutating func ask(
            _ request: StoreRequest,
            _ transaction: StoreTransactionID = .none,
            as client: StoreConnectionID? = nil
        ) -> StoreReply {
            var outputs: [StoreOutput] = []
            return store.perform(request, in: transaction, on: client ?? toolstack, into: &outputs)
        }

        mutating func begin() -> StoreTransactionID {
            guard case .transaction(let number) = ask(.beginTransaction) else { return .none }
            return number
        }

        mutating func messages(_ message: StoreMessage) -> [StoreOperation] {
            var outputs: [StoreOutput] = []
            store.handle(message, from: toolstack, into: &outputs)
            return outputs.compactMap { output in
                if case .message(let message, _) = output { message.operation } else { nil }
            }
        }
    }

    private func rules(_ change: (inout StoreRules) -> Void) -> StoreRules {
        var rules = StoreRules()
        change(&rules)
        return rules
    }

    @Test func `listings are in the order of making, or sorted`() {
        for (rules, expected) in [
            (StoreRules(), ["c", "a", "b"]), (rules { $0.sortsListings = true }, ["a", "b", "c"]),
        ] {
            var world = World(rules)
            for name in ["c", "a", "b"] { world.ask(.makeDirectory(directory.appending(name))) }
            #expect(world.ask(.directory(directory)) == .children(expected))
        }
    }

    @Test func `events go before the reply, or behind`() {
        let write = StoreMessage(.write, payload: Array("/t\u{0}v".utf8))
        for (rules, expected) in [
            (StoreRules(), [.watchEvent, .write]), (rules { $0.repliesPrecedeEvents = true }, [.write, .watchEvent]),
        ] as [(StoreRules, [StoreOperation])] {
            var world = World(rules)
            world.ask(.watch(directory, token: "t"))
            #expect(world.messages(write) == expected)
        }
    }

    @Test func `siblings made at the same time conflict, or merge`() {
        for (rules, expected) in [
            (StoreRules(), StoreReply.failure(.again)), (rules { $0.mergesCommits = true }, .done),
        ] {
            var world = World(rules)
            world.ask(.makeDirectory(directory))
            let transaction = world.begin()
            world.ask(.write(directory.appending("mine"), "1"), transaction)
            world.ask(.write(directory.appending("theirs"), "2"))
            #expect(world.ask(.endTransaction(commit: true), transaction) == expected)
            let names = expected == .done ? ["theirs", "mine"] : ["theirs"]
            #expect(world.ask(.directory(directory)) == .children(names))
        }
    }

    @Test func `writes of one node conflict even where commits merge`() {
        var world = World(rules { $0.mergesCommits = true })
        world.ask(.write(directory, "0"))
        let transaction = world.begin()
        world.ask(.write(directory, "1"), transaction)
        world.ask(.write(directory, "2"))
        #expect(world.ask(.endTransaction(commit: true), transaction) == .failure(.again))
        #expect(world.ask(.read(directory)) == .value("2"))
    }

    @Test(arguments: [StoreRules(), StoreRules.oxenstored])
    func `a node that was not there conflicts with whoever makes it`(rules: StoreRules) {
        var world = World(rules)
        let transaction = world.begin()
        #expect(world.ask(.read(directory), transaction) == .failure(.noEntry))
        world.ask(.write(directory, "theirs"))
        #expect(world.ask(.endTransaction(commit: true), transaction) == .failure(.again))
    }

    @Test func `a commit is refused when the world says so, and leaves nothing`() {
        var world = World(StoreRules())
        world.store.commitsToRefuse = 1
        let first = world.begin()
        world.ask(.write(directory, "1"), first)
        #expect(world.ask(.endTransaction(commit: true), first) == .failure(.again))
        #expect(world.ask(.read(directory)) == .failure(.noEntry))
        let second = world.begin()
        world.ask(.write(directory, "1"), second)
        #expect(world.ask(.endTransaction(commit: true), second) == .done)
        #expect(world.ask(.read(directory)) == .value("1"))
    }

    @Test func `a depth limits how far below a watch fires`() {
        var world = World(.currentVersion)
        let wire = StoreMessage(.watch, payload: Array("/t\u{0}w\u{0}1\u{0}".utf8))
        #expect(world.messages(wire) == [.watch, .watchEvent])
        #expect(world.messages(StoreMessage(.write, payload: Array("/t\u{0}".utf8))) == [.watchEvent, .write])
        #expect(world.messages(StoreMessage(.write, payload: Array("/t/a\u{0}".utf8))) == [.watchEvent, .write])
        #expect(world.messages(StoreMessage(.write, payload: Array("/t/a/b\u{0}".utf8))) == [.write])
        var older = World(StoreRules())
        #expect(older.messages(wire) == [.error])
    }

    @Test func `the last watch and the last transaction depend on the version`() {
        for (rules, watches, watchError, transactions) in [
            (StoreRules(), 129, .tooBig, 11), (.currentVersion, 129, .noSpace, 10),
        ] as [(StoreRules, Int, StoreErrorCode, Int)] {
            var world = World(rules)
            let granted = (0..<200).count {
                world.ask(.watch(directory, token: "\($0)"), as: world.guest) == .done
            }
            #expect(granted == watches)
            #expect(world.ask(.watch(directory, token: "x"), as: world.guest) == .failure(watchError))
            let open = (0..<20).count { _ in
                world.ask(.beginTransaction, as: world.guest) != .failure(.noSpace)
            }
            #expect(open == transactions)
        }
    }

    /// The operation of each reply to the guest or the toolstack, or the error's name; text where there is any.
    private func answer(_ world: inout World, _ operation: StoreOperation, _ text: String, asGuest: Bool = false)
        -> String
    {
        var outputs: [StoreOutput] = []
        let client = asGuest ? world.guest : world.toolstack
        world.store.handle(StoreMessage(operation, payload: Array(text.utf8)), from: client, into: &outputs)
        guard case .message(let reply, client)? = outputs.first else { return "nothing" }
        return String(decoding: reply.payload.prefix { $0 != 0 }, as: UTF8.self)
    }

    @Test func `features are asked for and set only in the current version, and by whom`() {
        var older = World(StoreRules())
        for operation in [StoreOperation.getFeature, .setFeature, .getQuota, .setQuota] {
            #expect(answer(&older, operation, "") == "ENOSYS")
        }
        var world = World(.currentVersion)
        #expect(answer(&world, .getFeature, "") == "14")
        #expect(answer(&world, .getFeature, "", asGuest: true) == "14")
        #expect(answer(&world, .getFeature, "1\0", asGuest: true) == "EACCES")
        #expect(answer(&world, .setFeature, "1\02\0", asGuest: true) == "EACCES")
        #expect(answer(&world, .setFeature, "1\02\0") == "OK")
        #expect(answer(&world, .getFeature, "1\0") == "2")
        #expect(answer(&world, .getFeature, "", asGuest: true) == "2")
        #expect(world.store.features(of: DomainID(1)) == 2)
        #expect(answer(&world, .setFeature, "1\01\0") == "EINVAL")
        #expect(answer(&world, .setFeature, "1\0") == "EINVAL")
        #expect(answer(&world, .setFeature, "32752\02\0") == "ENOENT")
        world.ask(.introduce(DomainID(1), FrameNumber(1), EventChannelPort(1)))
        #expect(answer(&world, .setFeature, "1\06\0") == "EBUSY")
    }

    @Test func `quotas are listed, asked for and set, for one domain or for those to come`() {
        var world = World(.currentVersion)
        let names = answer(&world, .getQuota, "").split(separator: " ")
        #expect(names.count == 10)
        for name in names { #expect(Int(answer(&world, .getQuota, "\(name)\0")) != nil) }
        #expect(answer(&world, .getQuota, "watches\0") == "128")
        #expect(answer(&world, .getQuota, "watches\0", asGuest: true) == "EACCES")
        #expect(answer(&world, .getQuota, "wat\0") == "EINVAL")
        #expect(answer(&world, .setQuota, "watches\04294967295\0") == "EINVAL")
        #expect(answer(&world, .setQuota, "1\0watches\02\0") == "OK")
        #expect(answer(&world, .getQuota, "1\0watches\0") == "2")
        let granted = (0..<9).count { world.ask(.watch(directory, token: "\($0)"), as: world.guest) == .done }
        #expect(granted == 3)
        #expect(answer(&world, .setQuota, "watches\05\0") == "OK")
        #expect(answer(&world, .getQuota, "1\0watches\0") == "2")
        #expect(answer(&world, .getQuota, "2\0watches\0") == "5")
        // A domain that is known keeps what was in force when it came.
        var other = World(.currentVersion)
        #expect(answer(&other, .setQuota, "watches\05\0") == "OK")
        #expect(answer(&other, .getQuota, "1\0watches\0") == "128")
        #expect(answer(&other, .getQuota, "2\0watches\0") == "5")
    }

    @Test func `DOMID_ANY in a list is for every domain, or for none`() {
        for (rules, expected) in [(StoreRules(), "EACCES"), (.currentVersion, "v")] {
            var world = World(rules)
            world.ask(.write(directory, "v"))
            #expect(answer(&world, .setPermissions, "/t\0n0\0r32757\0") == "OK")
            #expect(answer(&world, .read, "/t\0", asGuest: true).prefix(6) == expected.prefix(6))
        }
    }

    @Test func `guests see domains come in the current version`() {
        for (rules, count) in [(StoreRules(), 0), (.currentVersion, 1)] {
            var world = World(rules)
            world.ask(.watch(.introduceDomain, token: "i"), as: world.guest)
            var outputs: [StoreOutput] = []
            world.store.perform(
                .introduce(DomainID(3), FrameNumber(1), EventChannelPort(1)),
                on: world.toolstack,
                into: &outputs
            )
            #expect(outputs.count { if case .message(_, world.guest) = $0 { true } else { false } } == count)
        }
    }
}
