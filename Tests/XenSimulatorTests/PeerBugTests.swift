// SPDX-License-Identifier: MIT

import Testing
import XenChannels
import XenSimulator

/// Known bugs of real peers: exploration finds each with the profile as it is, says what happened, and finds nothing once the flaw alone is
/// taken out of the row.
struct PeerBugTests {
    /// Looks for `message` in the world with the flaw, and for anything in the one without.
    private func expectBug(
        _ message: String,
        faults: [String] = [],
        with flawed: Scenario,
        without repaired: Scenario
    ) throws {
        let bad = try #require(Experiment(flawed, faults: faults))
        let failure = try #require(bad.explore(cases: 60, seed: 1, shrinkLimit: 30), "the bug is not found")
        #expect(failure.message.contains(message), "\(failure)")
        let good = try #require(Experiment(repaired, faults: faults))
        let other = good.explore(cases: 40, seed: 1, shrinkLimit: 30)
        #expect(other == nil, "\(other?.description ?? "")")
    }

    @Test
    func `Unikraft never says that it has read, so that the console daemon waits for room that is there (A21, A22)`()
        throws
    {
        func scenario(_ frontend: FrontendProfile) -> Scenario {
            Scenario("unikraft", "a client writes more than fits", backend: .xenconsoled) { simulation in
                let console = ChannelPlan("console", agent: .listen, client: .send(3000))
                simulation.addGuest([], console: console, frontend: frontend)
                simulation.settle()
            }
        }
        var repaired = FrontendProfile.unikraft
        repaired.ring.afterConsuming = .ifMoved
        try expectBug(
            "the client's bytes wait, the in ring has room, and the backend sleeps",
            with: scenario(.unikraft),
            without: scenario(repaired)
        )
    }

    @Test func `QEMU keeps what a slow client did not take until the guest says something again (A27, R15)`() throws {
        func scenario(_ backend: BackendProfile) -> Scenario {
            Scenario("tail", "a guest writes more than its client takes at once", backend: backend) { simulation in
                let plan = ChannelPlan("org.example.log", agent: .send(9000), client: .listen)
                simulation.addGuest([plan], frontend: .linux)
                simulation.settle()
            }
        }
        var repaired = BackendProfile.qemu
        repaired.ring.retriesSink = true
        try expectBug(
            "bytes that it took, and their reader has room",
            faults: ["clientSlow"],
            with: scenario(.qemu),
            without: scenario(repaired)
        )
    }

    @Test func `a QEMU that is started again leaves the channels of its earlier life dead (B25)`() throws {
        func scenario(_ backend: BackendProfile) -> Scenario {
            Scenario("stale", "QEMU is killed and started again", backend: backend) { simulation in
                let plan = ChannelPlan("org.example.echo", agent: .echo, client: .send(500))
                simulation.addGuest([plan], frontend: .linux)
                simulation.settle()
                simulation.crashBackend()
                simulation.settle()
            }
        }
        var repaired = BackendProfile.qemu
        repaired.rearms = true
        try expectBug(
            "is not connected: its frontend is connected, its backend none",
            with: scenario(.qemu),
            without: scenario(repaired)
        )
    }

    @Test(arguments: [10, 11]) func `Linux goes by the last digit of a device's number (B14)`(number: Int) throws {
        func scenario(_ frontend: FrontendProfile) -> Scenario {
            Scenario("digit", "a channel of a large number") { simulation in
                let guest = simulation.addGuest([.echo], frontend: frontend)
                simulation.attach(.echo, number: number, to: guest)
                simulation.settle()
            }
        }
        var repaired = FrontendProfile.linux
        repaired.numbering = .any
        try expectBug(
            "is not connected: its frontend is none",
            with: scenario(.linux),
            without: scenario(repaired)
        )
    }

    @Test func `EDK2 compares indices by size, and reads nothing across 2^32 (A5, A6)`() throws {
        func scenario(_ frontend: FrontendProfile) -> Scenario {
            Scenario("wrap", "a console after almost 4 GiB", backend: .xenconsoled) { simulation in
                let console = ChannelPlan("console", agent: .listen, client: .send(800))
                simulation.addGuest([], console: console, consoleOrigin: 0xFFFF_FF00, frontend: frontend)
                simulation.settle()
            }
        }
        var repaired = FrontendProfile.edk2
        repaired.ring.comparison = .wrapping
        try expectBug(
            "bytes wait in the in ring, and the frontend sleeps",
            with: scenario(.edk2),
            without: scenario(repaired)
        )
    }

    @Test func `krata takes nothing while it waits for room, and starves a guest that writes as well (A27)`() throws {
        func scenario(_ backend: BackendProfile) -> Scenario {
            Scenario("starvation", "both sides write more than fits", backend: backend) { simulation in
                let console = ChannelPlan("console", agent: .send(20_000), client: .send(20_000))
                simulation.addGuest([], console: console, frontend: .linuxConsole)
                simulation.settle()
            }
        }
        var repaired = BackendProfile.krata
        repaired.ring.servesWhileWaiting = true
        try expectBug(
            "2048 bytes wait in the out ring, and the backend sleeps",
            faults: ["clientSlow"],
            with: scenario(.krata),
            without: scenario(repaired)
        )
    }
}
