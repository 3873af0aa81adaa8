// SPDX-License-Identifier: MIT

import XenBus
import XenChannels
import XenHypervisor
import XenInterface
import XenStore

/// All that decides how a `ChannelWorld` goes on: two worlds with equal keys have equal futures.
///
/// What counts up without end is left out: the store's stamps and serial numbers, the numbers of connections, and the generations of handles;
/// and what is only noted, the reports. Of an open transaction it matters only whether it would meet a conflict, for the machines read each
/// node once in it, before they write.
struct WorldKey: Hashable {
    private let guest: GuestSide
    private let daemon: DaemonSide?
    private let values: [StoreValue?]
    private let conflicts: [Bool]
    private let watches: Int
    private let ports: [HypervisorLeaks.Port]
    private let grants: [HypervisorLeaks.Grant]
    private let mapped: [GrantReference]
    private let deferred: [GrantReference]
    private let isPlugged: Bool
    private let story: Int

    init(_ world: inout ChannelWorld) {
        guest = world.normalised(world.guest)
        daemon = world.daemon.map(world.normalised)
        values = WorldKey.nodes.map { world.value($0) }
        conflicts = [
            world.wouldConflict(world.guest.client),
            world.daemon.map { world.wouldConflict($0.client) } ?? false,
        ]
        watches = world.server.watchCount
        let leaks = world.hypervisor.leaks()
        ports = leaks.ports
        grants = leaks.grants
        mapped = leaks.mappings.map(\.reference)
        deferred = world.deferred
        isPlugged = world.isPlugged
        story = world.story.count
    }

    /// A hash to keep instead of the key.
    ///
    /// Among ten million states the chance that two share one, and one of them is passed over, is below 1 in 300,000; and it differs from
    /// run to run, since each process hashes in its own way.
    var fingerprint: Int { hashValue }

    /// All nodes that anybody writes once the device was made.
    private static let nodes: [StorePath] = {
        let frontend = ChannelWorld.paths.frontend
        let backend = ChannelWorld.paths.backend
        return [frontend, backend] + ["state", "ring-ref", "port", "tty"].map { frontend.appending($0) }
            + ["state", "online", "hotplug-status"].map { backend.appending($0) }
    }()
}

extension ChannelWorld {
    /// As the only client, in the only transaction, without reports.
    fileprivate func normalised<Side: WorldSide>(_ side: Side) -> Side {
        var side = side
        var client = StoreClient(id: toolstack)
        client.inbox = side.client.inbox
        if side.client.transaction != .none { client.transaction = StoreClient.shown }
        side.client = client
        side.reports = []
        return side
    }

    /// Whether a client's open transaction could not be committed any more: tried on a copy.
    fileprivate func wouldConflict(_ client: StoreClient) -> Bool {
        guard client.transaction != .none else { return false }
        var copy = server
        var outputs: [StoreOutput] = []
        let commit = StoreRequest.endTransaction(commit: true)
        return copy.perform(commit, in: client.transaction, on: client.id, into: &outputs) == .failure(.again)
    }
}
