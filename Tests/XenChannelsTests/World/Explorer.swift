// SPDX-License-Identifier: MIT

import XenBus
import XenChannels
import XenExploration
import XenHypervisor
import XenInterface
import XenStore

/// All that decides how a `ChannelWorld` goes on: two worlds with equal keys have equal futures.
///
/// What counts up without end is left out: the store's stamps and serial numbers, and the generations of handles. Of an open transaction it
/// matters only whether it would meet a conflict, for the machines read each node once in it, before they write.
struct WorldKey: Hashable {
    let guest: GuestSide
    let daemon: DaemonSide?
    let values: [StoreValue?]
    let conflicts: [Bool]
    let leaks: HypervisorLeaks.Key
    let deferred: [GrantReference]
    let story: Int

    init(_ world: inout ChannelWorld) {
        guest = world.guest
        daemon = world.daemon
        values = WorldKey.nodes.map { world.value($0) }
        conflicts = [
            world.wouldConflict(world.guest.client),
            world.daemon.map { world.wouldConflict($0.client) } ?? false,
        ]
        leaks = HypervisorLeaks.Key(world.hypervisor.leaks())
        deferred = world.deferred
        story = world.story.count
    }

    private static let nodes: [StorePath] = {
        let frontend = ChannelWorld.paths.frontend
        let backend = ChannelWorld.paths.backend
        return [frontend, backend] + ["state", "ring-ref", "port", "tty"].map { frontend.appending($0) }
            + ["state", "online", "hotplug-status"].map { backend.appending($0) }
    }()

    static func == (left: WorldKey, right: WorldKey) -> Bool {
        left.story == right.story && left.values == right.values && left.conflicts == right.conflicts
            && left.leaks == right.leaks && left.deferred == right.deferred
            && left.guest.isSame(as: right.guest) && isSame(left.daemon, right.daemon)
    }

    private static func isSame(_ left: DaemonSide?, _ right: DaemonSide?) -> Bool {
        guard let left, let right else { return left == nil && right == nil }
        return left.isSame(as: right)
    }

    func hash(into hasher: inout Hasher) {
        hasher.combine(story)
        hasher.combine(values)
        hasher.combine(conflicts)
        hasher.combine(guest.machine)
        hasher.combine(guest.request)
        hasher.combine(guest.client.inbox)
        hasher.combine(guest.hasTimer)
        hasher.combine(daemon?.machine)
        hasher.combine(daemon?.request)
        hasher.combine(daemon?.client.inbox)
        hasher.combine(daemon?.hasTimer)
    }
}

extension GuestSide {
    /// Apart from the connection's number and the reports.
    func isSame(as other: GuestSide) -> Bool {
        machine == other.machine && request == other.request && client.inbox == other.client.inbox
            && scanner == other.scanner && scannerRequest == other.scannerRequest && tasks == other.tasks
            && hasTimer == other.hasTimer && isConnected == other.isConnected && grant == other.grant
            && port == other.port && wasClosed == other.wasClosed
    }
}

extension DaemonSide {
    func isSame(as other: DaemonSide) -> Bool {
        machine == other.machine && request == other.request && client.inbox == other.client.inbox
            && scanner == other.scanner && scannerRequest == other.scannerRequest && tasks == other.tasks
            && hasTimer == other.hasTimer && isOpen == other.isOpen && attachment == other.attachment
            && port == other.port && isStopping == other.isStopping && isScanning == other.isScanning
    }
}

extension HypervisorLeaks {
    /// What is open, without the generations of handles.
    struct Key: Hashable {
        let ports: [Port]
        let grants: [Grant]
        let mapped: [GrantReference]

        init(_ leaks: HypervisorLeaks) {
            ports = leaks.ports
            grants = leaks.grants
            mapped = leaks.mappings.map(\.reference)
        }
    }
}

extension ChannelWorld {
    /// Whether a client's open transaction could not be committed any more: tried on a copy.
    func wouldConflict(_ client: StoreClient) -> Bool {
        guard client.transaction != .none else { return false }
        var copy = server
        var outputs: [StoreOutput] = []
        let commit = StoreRequest.endTransaction(commit: true)
        return copy.perform(commit, in: client.transaction, on: client.id, into: &outputs) == .failure(.again)
    }
}

/// What an exploration saw.
struct Exploration {
    var states = 0
    var steps = 0
    /// Ends: nothing is left to do, not even a timer.
    var ends = 0
    var connectedEnds = 0
    /// Whether there was more than the budget allows.
    var isCut = false
}

/// Takes every step that is possible in every state that can be reached, each state once.
///
/// Timers run out only when nothing else is left to do, unless `timersAnytime`. Throws what a check found, with the steps that lead there.
func explore(
    _ story: [StoryEvent],
    grain: ChannelWorld.Grain = .script,
    timersAnytime: Bool = false,
    budget: Int,
    atEnd check: (ChannelWorld) throws(PropertyViolation) -> Void = { _ in }
) throws(PropertyViolation) -> Exploration {
    var result = Exploration()
    var start = try ChannelWorld(story: story, grain: grain)
    var seen: Set<WorldKey> = [WorldKey(&start)]
    // Depth first, so that few worlds are kept at a time; with the way that led to each.
    var open: [(world: ChannelWorld, way: [WorldStep])] = [(start, [])]
    result.states = 1
    while let (popped, way) = open.popLast() {
        var world = popped
        var steps = world.enabled
        do throws(PropertyViolation) {
            if steps.isEmpty {
                try world.checkQuiescence()
                try checkEnd(world, check, &result)
            }
            if steps.isEmpty || timersAnytime { steps += world.timers }
            for step in steps {
                var next = world
                result.steps += 1
                do throws(PropertyViolation) {
                    try next.take(step)
                } catch {
                    throw PropertyViolation("\(error) after \(step)")
                }
                guard seen.insert(WorldKey(&next)).inserted else { continue }
                result.states += 1
                guard result.states < budget else {
                    result.isCut = true
                    return result
                }
                open.append((next, way + [step]))
            }
        } catch {
            throw PropertyViolation(
                "\(error)\nafter \(way.map { "\($0)" }.joined(separator: " "))\n" + trace(story, way, grain)
            )
        }
    }
    return result
}

private func checkEnd(
    _ world: ChannelWorld,
    _ check: (ChannelWorld) throws(PropertyViolation) -> Void,
    _ result: inout Exploration
) throws(PropertyViolation) {
    guard world.timers.isEmpty else { return }
    result.ends += 1
    if world.guest.isConnected { result.connectedEnds += 1 }
    try check(world)
    var world = world
    world.takeDown()
    try world.checkTakenDown()
}

/// The states along a way, for a failure's report.
private func trace(_ story: [StoryEvent], _ way: [WorldStep], _ grain: ChannelWorld.Grain) -> String {
    do throws(PropertyViolation) {
        var world = try ChannelWorld(story: story, grain: grain)
        world.trace = []
        for step in way { try world.take(step) }
        return (world.trace ?? []).joined(separator: "\n")
    } catch {
        return "\(error)"
    }
}
