// SPDX-License-Identifier: MIT

import Testing
import XenBus
import XenChannels
import XenExploration
import XenInterface
import XenRing

@testable import XenSimulator

/// Save and restore: another domain, nodes made from scratch, a fresh ring; the guest and its programs are the same (B16, B31, R11).
struct SaveRestoreTests {
    /// Which frontend meets which backend; nil for ours.
    private static let pairs: [(name: String, frontend: FrontendProfile?, backend: BackendProfile?)] = [
        ("ours, ours", nil, nil), ("ours, QEMU", nil, .withoutTail), ("Linux, ours", .linux, nil),
        ("Linux, QEMU", .linux, .withoutTail),
    ]

    private func pair(_ name: String) throws -> (frontend: FrontendProfile?, backend: BackendProfile?) {
        let pair = try #require(SaveRestoreTests.pairs.first { $0.name == name })
        return (pair.frontend, pair.backend)
    }

    @Test(arguments: pairs.map(\.name))
    func `with nothing on the way, not a byte is lost, and the programs go on where they were`(name: String) throws {
        let (frontend, backend) = try pair(name)
        for seed in 0..<10 as Range<UInt64> {
            let simulation = Simulation(Choices(seed: seed), backend: backend)
            let guest = simulation.addGuest([ChannelPlan("a", agent: .listen, client: .send(1500))], frontend: frontend)
            simulation.settle()
            let before = try #require(simulation.guests[guest].domain)
            simulation.saveAndRestore(guest)
            simulation.settle()
            let after = try #require(simulation.guests[guest].domain)
            #expect(before != after)
            let record = try #require(
                simulation.guests[guest].channels[DeviceKey(frontend: after, device: DeviceID(1))]
            )
            #expect(record.isExact && record.isExpected)
            let frame = try #require(record.frontend?.frame)
            #expect(frame.owner == after && frame.input.produced == RingIndex(0), "a fresh ring")
            record.client?.flood(2000)
            record.agent?.flood(3000)
            simulation.settle()
            #expect(record.agent?.received == 3500)
            #expect(record.client?.received == 3000)
            simulation.finish()
            #expect(simulation.failure == nil, "\(name), seed \(seed): \(simulation.failure ?? "")")
        }
    }

    @Test(arguments: pairs.map(\.name))
    func `in the middle of anything, the channels work again, and nothing is left behind`(name: String) throws {
        let (frontend, backend) = try pair(name)
        let scenario = Scenario("save", "a guest is saved at any time", backend: backend) { simulation in
            let plans = [ChannelPlan.load, ChannelPlan.echo]
            let guest = simulation.addGuest(plans, frontend: frontend)
            simulation.runForAWhile()
            simulation.saveAndRestore(guest)
            simulation.runForAWhile()
            simulation.saveAndRestore(guest)
            simulation.settle()
        }
        let faults =
            backend == nil ? ["events", "watches", "conflicts", "toolstackCrash", "clients"] : ["events", "watches"]
        for faults in [[], faults] {
            let failure = try #require(Experiment(scenario, faults: faults)).explore(
                cases: 15,
                seed: 3,
                shrinkLimit: 30
            )
            #expect(failure == nil, "\(name): \(failure?.description ?? "")")
        }
    }

    @Test func `as a fault among others`() throws {
        let faults = ["saving", "events", "watches", "crashes", "stalls", "closing"]
        let experiment = try #require(Experiment(.mixed, faults: faults))
        let failure = experiment.explore(cases: 60, seed: 1, shrinkLimit: 30)
        #expect(failure == nil, "\(failure?.description ?? "")")
        var struck = 0
        for seed in 0..<20 as Range<UInt64> {
            struck += experiment.run(Choices(seed: seed)).struckFaults.first { $0.fault == .saveRestore }?.count ?? 0
        }
        #expect(struck > 0)
    }
}

extension BackendProfile {
    /// QEMU, but that a slow reader gets what waits for it.
    static let withoutTail: BackendProfile = {
        var row = BackendProfile.qemu
        row.ring.retriesSink = true
        return row
    }()
}
