// SPDX-License-Identifier: MIT

import Testing
import XenChannels
import XenExploration

@testable import XenSimulator

/// Who knows whom in a world: none keeps another alive beyond it.
struct LifetimeTests {
    @Test(arguments: [false, true])
    func `a world that is dropped in the middle of its life takes all of its actors along`(withQEMU: Bool) throws {
        weak var world: World?
        weak var record: ChannelRecord?
        weak var frontend: Device?
        weak var client: Program?
        do {
            let simulation = Simulation(Choices(seed: 1), backend: withQEMU ? .qemu : nil)
            simulation.addGuest([ChannelPlan("org.example.agent", agent: .answer, client: .ask(3))])
            simulation.settle()
            #expect(simulation.failure == nil)
            world = simulation.world
            record = simulation.guests[0].channels.values.first
            frontend = record?.frontend as? Device
            client = record?.client
            try #require(frontend != nil && client != nil)
        }
        #expect(frontend == nil && client == nil)
        #expect(record == nil && world == nil)
    }
}
