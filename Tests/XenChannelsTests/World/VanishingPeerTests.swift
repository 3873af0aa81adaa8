// SPDX-License-Identifier: MIT

import Testing
import XenBus
import XenChannels
import XenExploration
import XenHypervisor
import XenInterface
import XenStore

private let frontend = ChannelWorld.paths.frontend
private let backend = ChannelWorld.paths.backend

/// One side, or its directory, goes without a word.
struct VanishingPeerTests {
    @Test(arguments: ["", "state"])
    func `a guest that removes its own directory, or its state, is unmapped at once (R10, B23)`(node: String) throws {
        var world = try ChannelWorld.connected()
        // The kernel is of those that look at nothing.
        world.server.disconnect(world.guest.client.id)
        world.guest.client = StoreClient(id: world.server.connect(as: ChannelWorld.guestDomain))
        _ = world.asToolstack(.remove(node.isEmpty ? frontend : frontend.appending(node)))
        world.states = world.readStates()
        while let step = world.enabled.last(where: { $0 != .guestRequest && $0 != .guestScan }) { try world.take(step) }
        #expect(world.daemon?.attachment == nil && world.states.backend == "6")
        #expect(world.hypervisor.leaks(of: .dom0).mappings.isEmpty && world.hypervisor.openPorts(of: .dom0).isEmpty)
        #expect(world.daemon?.machine?.state == .closed && world.daemon?.hasTimer == false)
    }

    @Test func `a daemon that is to stop waits for a guest that does not follow so long, and no longer (R6, R10)`()
        throws
    {
        var world = try ChannelWorld.connected()
        world.server.disconnect(world.guest.client.id)
        world.guest.client = StoreClient(id: world.server.connect(as: ChannelWorld.guestDomain))
        world.happen(.stopDaemon)
        try world.settle()
        #expect(world.daemon?.attachment != nil && world.states.backend == "5")
        let reports = world.daemon?.reports
        try world.take(.daemonTimer)
        try world.settle()
        #expect(reports == [] && world.daemon == nil && world.states.backend == "6")
        #expect(world.hypervisor.leaks(of: .dom0).isEmpty)
    }

    /// B12: the toolstack's transaction removes both directories and makes them anew.
    @Test func `a device made anew under a connected channel is read anew: no old state goes into it, and tty does`()
        throws
    {
        var world = try ChannelWorld.connected()
        world.writes = []
        world.happen(.plug)
        try world.settle()
        try world.checkQuiescence()
        #expect(world.guest.isConnected)
        #expect(!world.writes.contains("\(backend)/state 6") && !world.writes.contains("\(backend)/state 5"))
        #expect(world.value(at: frontend.appending("tty")) == "/dev/pts/1")
        #expect(world.value(at: backend.appending("hotplug-status")) == "connected")
    }
}

/// States that come faster than they are looked at (B35).
struct CoalescedStateTests {
    /// Its return to 1 is never seen: 6, and then 3.
    @Test func `a frontend that was closed and is at 3 when it is looked at again is served (B35, B16a, B23)`() throws {
        var world = try ChannelWorld.connected()
        world.happen(.closeFrontend)
        try world.settle()
        #expect(world.daemon?.machine?.state == .closed && world.states == .init(frontend: "6", backend: "6"))
        world.makeGuestResources(for: .dom0)
        let (grant, port) = (try #require(world.guest.grant), try #require(world.guest.port))
        world.write(frontend.appending("ring-ref"), StoreValue(decimal: grant.rawValue))
        world.write(frontend.appending("port"), StoreValue(decimal: port.rawValue))
        world.write(frontend.appending("state"), "1")
        world.write(frontend.appending("state"), "3")
        try world.settle()
        #expect(world.daemon?.machine?.state == .connected && world.states.backend == "4")
        #expect(world.daemon?.attachment?.ring == grant && world.daemon?.attachment?.port == port)
    }
}

/// Numbers that are others at the second look (A32, B34).
struct ChangingNumbersTests {
    @Test(arguments: [BackendHandshake.State.fetching, .rechecking])
    func `numbers that change between two reads are read again: no mixture is left attached (B16, B23)`(
        state: BackendHandshake.State
    ) throws {
        var world = try ChannelWorld(story: [], grain: .finest)
        try world.settle()
        world.happen(.plug)
        try world.settle()
        world.happen(.republish)
        // The reference is read, and the port is not.
        let port = StoreRequest.read(frontend.appending("port"))
        var steps = 0
        while world.daemon?.machine?.state != state || world.daemon?.request?.request != port {
            steps += 1
            try world.take(try #require(steps < 500 ? world.enabled.last : nil))
        }
        var published = [[world.guest.grant?.rawValue, world.guest.port?.rawValue]]
        world.happen(.republish)
        published.append([world.guest.grant?.rawValue, world.guest.port?.rawValue])
        #expect(published[0] != published[1])
        while let step = world.enabled.first {
            try world.take(step)
            // Nor is one asked for on the way: what it named could be anybody's.
            guard case .attach(let asked) = world.daemon?.tasks.first else { continue }
            #expect(published.contains([asked.ring.rawValue, asked.port.rawValue]), "\(asked)")
        }
        try world.checkQuiescence()
        #expect(world.guest.isConnected)
        #expect(world.hypervisor.leaks(of: .dom0).mappings.count == 1)
    }
}
