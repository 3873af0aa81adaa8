// SPDX-License-Identifier: MIT

import XenBus
import XenChannels
import XenHypervisor
import XenInterface
import XenStore

/// A channel's name, made when it is to be seen.
private struct Name: CustomStringConvertible {
    let key: DeviceKey
    var description: String { "channel \(key.frontend)/\(key.device)" }
}

// What must hold when nothing moves any more.
extension Simulation {
    /// Everything that should work does, and nobody sleeps over work.
    func checkRest() {
        if !toolstack.isIdle { fail("the toolstack sleeps over its work") }
        if world.store.transactionCount > 0 { fail("a transaction is left open") }
        checkAbandonedPages()
        for guest in guests where guest.isRunning {
            for (key, record) in guest.sortedChannels where record.isExpected && !record.isHostile {
                check(record, Name(key: key))
            }
        }
    }

    /// Channels that are idle keep no memory for bytes.
    func trim() {
        for guest in guests {
            for record in guest.channels.values {
                record.frontend?.trim()
                record.backend?.trim()
            }
        }
    }

    /// No backend maps a page that its guest has given up, unless the guest could not say so.
    func checkAbandonedPages() {
        let isAbandoned = backend.devices.values.contains { $0.pump.ring?.access.frame.isAbandoned ?? false }
        guard isAbandoned, !world.chance.isDamaged else { return }
        for device in backend.sortedDevices where device.pump.ring?.access.frame.isAbandoned ?? false {
            fail("the backend of \(device.key.frontend)/\(device.key.device) maps a page that the guest has given up")
        }
    }

    /// A guest whose channels were all removed holds nothing but its port to the store.
    func checkGuestLeaks() {
        for guest in guests where guest.isRunning {
            guard let domain = guest.domain else { continue }
            guest.daemon?.retryDeferred()
            guest.peer?.retryDeferred()
            let leaks = world.hypervisor.leaks(of: domain)
            for grant in leaks.grants { fail("left over: \(grant)") }
            for port in leaks.ports.dropFirst() where port.port != guest.console?.port { fail("left over: \(port)") }
            // A kernel keeps its primary console, whether anybody serves it or not.
            for device in guest.daemon?.sortedDevices ?? [] where device.key.device != .primaryConsole {
                fail("guest \(guest.index) still has device \(device.key.device)")
            }
        }
        let running = guests.count(where: \.isRunning)
        // A kernel that has a primary console only watches nothing.
        let watching = guests.count { $0.isRunning && $0.profile?.finding != .primaryConsole }
        let watches = world.store.watchCount
        if !world.chance.isDamaged, watches != watching + (population.peerDaemon?.watchCount ?? 1) {
            fail("\(watches) watches are left of \(running) guests and a backend")
        }
    }

    private func check(_ record: ChannelRecord, _ name: Name) {
        guard let frontend = record.frontend, let backend = record.backend, frontend.isConnected, backend.isConnected
        else {
            if !world.chance.isDamaged {
                let front = record.frontend?.progress ?? "none"
                let back = record.backend?.progress ?? "none"
                fail("\(name) is not connected: its frontend is \(front), its backend \(back)")
            }
            return
        }
        guard let frame = frontend.frame else { return fail("\(name) is connected without a page") }
        checkWakeups(frontend, backend, frame, name)
        checkCounts(record, name)
        if record.isExact, !world.chance.isDamaged { checkArrival(record, name) }
    }

    /// Every byte that the agent has written has arrived, waits somewhere, or was counted as lost.
    private func checkCounts(_ record: ChannelRecord, _ name: Name) {
        guard record.isCounted, let frontend = record.frontend as? FrontendDevice,
            let backend = record.backend as? BackendDevice, let agent = record.agent, let client = record.client
        else { return }
        let ring = frontend.frame?.output.count ?? 0
        let waiting = (frontend.pipe?.inward.count ?? 0) + ring + backend.backlog + (backend.pipe?.outward.count ?? 0)
        guard agent.sent != client.received + record.lostFromGuest + UInt64(waiting) else { return }
        let counts = "\(client.received) have arrived, \(waiting) wait, and \(record.lostFromGuest) are lost"
        fail("\(name): the agent has sent \(agent.sent) bytes: \(counts)")
    }

    private func checkWakeups(
        _ frontend: any ChannelEnd,
        _ backend: any ChannelEnd,
        _ frame: PageFrame,
        _ name: Name
    ) {
        if frame.output.count > 0, backend.backlogRoom > 0 {
            fail("\(name): \(frame.output.count) bytes wait in the out ring, and the backend sleeps")
        }
        if frame.input.count > 0, frontend.backlogRoom > 0 {
            fail("\(name): \(frame.input.count) bytes wait in the in ring, and the frontend sleeps")
        }
        if let pipe = backend.pipe, !pipe.inward.isEmpty, frame.input.freeCapacity > 0 {
            fail("\(name): the client's bytes wait, the in ring has room, and the backend sleeps")
        }
        if let pipe = frontend.pipe, !pipe.inward.isEmpty, frame.output.freeCapacity > 0 {
            fail("\(name): the agent's bytes wait, the out ring has room, and the frontend sleeps")
        }
        for (end, who) in [(backend, "backend"), (frontend, "frontend")] where end.backlog > 0 {
            guard let pipe = end.pipe, pipe.outwardRoom > 0 else { continue }
            fail("\(name): the \(who) sleeps over \(end.backlog) bytes that it took, and their reader has room")
        }
    }

    /// Nothing was lost, and everybody has said what he had to say.
    private func checkArrival(_ record: ChannelRecord, _ name: Name) {
        guard let client = record.client, let agent = record.agent, client.pipe != nil else { return }
        for (sender, receiver) in [(client, agent), (agent, client)] {
            if !sender.hasSentAll {
                fail("\(name): \(world.names[sender.id]) has sent \(sender.sent) bytes of \(sender.behavior.length)")
            }
            if sender.sent != receiver.received {
                let who = world.names[sender.id]
                fail("\(name): \(who) has sent \(sender.sent) bytes, and \(receiver.received) have arrived")
            }
        }
    }

    /// Nothing is left of a world that was taken apart.
    func checkLeaks() {
        for device in backend.sortedDevices {
            fail("the backend still has device \(device.key.frontend)/\(device.key.device)")
        }
        let leaks = world.hypervisor.leaks()
        if !leaks.isEmpty { fail("left over: " + leaks.description.split(separator: "\n").joined(separator: "; ")) }
        let watches = world.store.watchCount
        let expected = population.peerDaemon?.watchCount ?? 1
        if watches != expected { fail("\(watches) watches are left, and the backend's own are \(expected)") }
        if world.store.transactionCount > 0 { fail("a transaction is left open") }
    }
}
