// SPDX-License-Identifier: MIT

import Testing
import XenBus
import XenChannels
import XenExploration
import XenInterface

@testable import XenSimulator

/// Our two ends of the primary console, device 0, with each other and with those of others (B1 to B8).
struct PrimaryConsoleTests {
    private func expectSuccess(
        _ scenario: Scenario,
        faults: [[String]],
        cases: Int = 8,
        seed: UInt64 = 1
    ) throws {
        for faults in faults {
            let experiment = try #require(Experiment(scenario, faults: faults))
            let failure = experiment.explore(cases: cases, seed: seed, shrinkLimit: 30)
            #expect(failure == nil, "\(scenario.name), \(faults): \(failure?.description ?? "")")
        }
    }

    /// What every host knows.
    private static let common = ["events", "watches", "conflicts", "stalls", "clientSlow"]

    // MARK: Ours

    @Test func `our two ends exchange every byte, in order, beside a channel (B1 to B5)`() throws {
        let scenario = Scenario("console", "a guest with a console and a channel") { simulation in
            simulation.addGuest([.echo], console: .load)
            simulation.addGuest([], console: .echo, consoleOrigin: 0xFFFF_FE00)
            simulation.settle()
        }
        try expectSuccess(scenario, faults: [[], PrimaryConsoleTests.common], cases: 20)
    }

    @Test func `whatever goes wrong, nothing sleeps over work and nothing is left`() throws {
        let scenario = Scenario("trouble", "consoles and a channel, for any faults") { simulation in
            simulation.addGuest([.echo], console: .load)
            simulation.addGuest([], console: .echo)
            simulation.settle()
        }
        let faults = [
            ["crashes", "events", "watches"], ["closing", "clients", "events"], ["saving", "crashes", "stalls"],
            ["store", "resources"], ["hostile", "events"], ["all"],
        ]
        try expectSuccess(scenario, faults: faults, cases: 10, seed: 2)
    }

    @Test func `a kernel that boots again in its domain takes the page up where it is (B1, B32)`() throws {
        let scenario = Scenario("kexec", "a kernel ends without a word, and the next one boots") { simulation in
            let guest = simulation.addGuest([], console: .load, consoleOrigin: 0xFFFF_FC00)
            simulation.runForAWhile()
            guard simulation.guests[guest].isRunning else { return simulation.settle() }
            simulation.guests[guest].daemon?.crash()
            simulation.runForAWhile()
            simulation.guests[guest].daemon?.start()
            simulation.settle()
        }
        try expectSuccess(scenario, faults: [[], ["events", "watches", "backendCrash"]])
    }

    @Test func `a console whose nodes the toolstack takes away is let go, and its guest goes on (B24, R7)`() throws {
        let scenario = Scenario("removal", "a console is taken from a guest that runs") { simulation in
            let guest = simulation.addGuest([.echo], console: .load)
            simulation.runForAWhile()
            simulation.detach(number: 0, from: guest)
            simulation.settle()
            if simulation.backend.sortedDevices.contains(where: { $0.key.device == .primaryConsole }) {
                simulation.fail("the backend still serves a console that is gone")
            }
        }
        try expectSuccess(scenario, faults: [[], PrimaryConsoleTests.common])
    }

    @Test func `a backend that starts again takes up page and port, and loses what it had drained alone (B7)`() throws {
        for frontend in [nil, FrontendProfile.linuxConsole] {
            let plan = ChannelPlan("console", agent: .send(6000), client: .send(6000))
            let scenario = Scenario("again", "the backend is killed and started again") { simulation in
                let guest = simulation.addGuest([], console: plan, frontend: frontend)
                for _ in 0..<2 {
                    simulation.runForAWhile()
                    simulation.crashBackend()
                }
                simulation.settle()
                guard let record = simulation.guests[guest].sortedChannels.first?.record,
                    let agent = record.agent, let client = record.client
                else { return simulation.fail("the console is gone") }
                if agent.sent != client.received + record.lostFromGuest {
                    simulation.fail("\(agent.sent) written, \(client.received) read, \(record.lostFromGuest) lost")
                }
            }
            try expectSuccess(scenario, faults: [[], ["events", "stalls"]], cases: 10)
        }
    }

    // MARK: Our backend with others' frontends

    /// Everybody's ring, used as a primary console's: mini-os, Windows and mirage have one as well.
    private static let frontends = FrontendProfile.all.map(\.name)

    @Test(arguments: frontends)
    func `our backend gets on with a primary console of others (A21, A26, A31, B1)`(name: String) throws {
        var row = try #require(FrontendProfile.all.first { $0.name == name })
        row.finding = .primaryConsole
        let frontend = row
        let scenario = Scenario("guest", "\(name)'s console") { simulation in
            simulation.addGuest([], console: .load, frontend: frontend)
            simulation.addGuest([.echo], console: .echo)
            simulation.settle()
        }
        try expectSuccess(scenario, faults: [[], PrimaryConsoleTests.common], cases: 5)
    }

    /// Towards the guest, xenconsoled that dies between its index and its notification leaves it asleep. Ours says it when it joins.
    @Test func `a guest is told of what an earlier backend put in, by ours and not by xenconsoled (B7, A20)`() throws {
        func scenario(_ backend: BackendProfile?) -> Scenario {
            Scenario("asleep", "a backend is killed while it writes", backend: backend) { simulation in
                let console = ChannelPlan("console", agent: .listen, client: .send(3000))
                simulation.addGuest([], console: console, frontend: .linuxConsole)
                simulation.runForAWhile()
                simulation.crashBackend()
                simulation.settle()
            }
        }
        let theirs = try #require(Experiment(scenario(.xenconsoled)))
        let failure = try #require(theirs.explore(cases: 200, seed: 1, shrinkLimit: 30), "it is not found")
        #expect(failure.firstMessage.contains("wait in the in ring, and the frontend sleeps"), "\(failure)")
        try expectSuccess(scenario(nil), faults: [[]], cases: 60)
    }

    @Test(arguments: ["Linux hvc_xen, console 0", "ours"])
    func `a guest with a console is saved and restored, and its console goes on (B16, B31, R11)`(name: String) throws {
        let row = FrontendProfile.all.first { $0.name == name }
        let scenario = Scenario("save", "\(name) is saved at any time") { simulation in
            let guest = simulation.addGuest([], console: .load, frontend: row)
            simulation.runForAWhile()
            simulation.saveAndRestore(guest)
            simulation.settle()
        }
        try expectSuccess(scenario, faults: [[], ["events", "watches", "toolstackCrash"]])
    }

    // MARK: Our frontend with others' backends

    @Test(arguments: ["xenconsoled", "krata"])
    func `our frontend gets on with a console daemon of others (A27 to A29, B5, B28)`(name: String) throws {
        let row = try #require(BackendProfile.all.first { $0.name == name })
        let scenario = Scenario("daemon", "our consoles with \(name)", backend: row) { simulation in
            simulation.addGuest([], console: .load)
            simulation.addGuest([], console: .echo, consoleOrigin: 0xFFFF_FF00)
            simulation.settle()
        }
        try expectSuccess(scenario, faults: [[], PrimaryConsoleTests.common])
    }

    @Test func `our frontend goes on with an xenconsoled that was killed and started again (B7)`() throws {
        let scenario = Scenario("restart", "xenconsoled starts again", backend: .xenconsoled) { simulation in
            let console = ChannelPlan("console", agent: .send(6000), client: .listen)
            simulation.addGuest([], console: console)
            simulation.runForAWhile()
            simulation.crashBackend()
            simulation.settle()
        }
        try expectSuccess(scenario, faults: [[], ["events", "clientSlow"]], cases: 15)
    }

    // MARK: Bugs

    /// A console's part of the world, broken on purpose.
    private final class Mutant: Substitution {
        enum Bug: String, CaseIterable, Sendable {
            case removalIgnored, numbersIgnored, ringKept, attachedTwice, guestNotConnected, ttyInAnotherPlace
            case portKept
        }
        let bug: Bug

        init(_ bug: Bug) {
            self.bug = bug
        }

        func handle(
            _ event: PrimaryConsoleBackend.Event,
            by machine: inout PrimaryConsoleBackend
        ) -> [PrimaryConsoleBackend.Action] {
            switch (bug, event) {
            case (.removalIgnored, .ownChanged), (.numbersIgnored, .frontendChanged): return []
            default: break
            }
            return machine.handle(event).flatMap { action in
                switch (bug, action) {
                case (.ringKept, .detach): return machine.handle(.detached)
                case (.attachedTwice, .attach): return [action, action]
                case (.ttyInAnotherPlace, .store(.write(let path, let value), let transaction)):
                    return [.store(.write(path.appending("x"), value), in: transaction)]
                default: return [action]
                }
            }
        }

        func handle(
            _ event: PrimaryConsoleFrontend.Event,
            by machine: inout PrimaryConsoleFrontend
        ) -> [PrimaryConsoleFrontend.Action] {
            let actions = machine.handle(event)
            return bug == .guestNotConnected ? actions.filter { $0 != .connected } : actions
        }

        func closesPort() -> Bool { bug != .portKept }
    }

    @Test(arguments: [
        ("removalIgnored", "watches are left"), ("numbersIgnored", "is not connected"), ("ringKept", "left over"),
        ("attachedTwice", "cannot bind"), ("guestNotConnected", "sleeps"), ("ttyInAnotherPlace", "not its own"),
        ("portKept", "left over"),
    ])
    func `a bug of a console is found, and by the rule that it breaks`(name: String, word: String) throws {
        let bug = try #require(Mutant.Bug(rawValue: name))
        let scenario = Scenario("bug", "a console's life") { simulation in
            let guest = simulation.addGuest([], console: .load)
            simulation.settle()
            simulation.detach(number: 0, from: guest)
            simulation.settle()
        }
        let broken = try #require(Experiment(scenario) { Mutant(bug) })
        let failure = broken.explore(cases: 5, seed: 3, shrinkLimit: 0)
        #expect(failure?.firstMessage.contains(word) ?? false, "\(failure?.description ?? "nobody noticed")")
    }
}
