// SPDX-License-Identifier: MIT

import XenBus
import XenChannels
import XenHypervisor
import XenStore

// What must hold when nothing moves any more.
extension Simulation {
    /// Everything that should work does, and nobody sleeps over work.
    func checkRest() {
        if !toolstack.isIdle { fail("the toolstack sleeps over its work") }
        if world.store.server.transactionCount > 0 { fail("a transaction is left open") }
        checkAbandonedPages()
        for guest in guests where guest.isRunning {
            for (key, record) in guest.sortedChannels where record.isExpected && !record.isHostile {
                check(record, "channel \(key.frontend)/\(key.device)")
            }
        }
    }

    /// No backend maps a page that its guest has given up, unless the guest could not say so.
    func checkAbandonedPages() {
        guard !world.chance.isDamaged else { return }
        for device in backend.sortedDevices where device.pump.ring?.access.frame.isAbandoned ?? false {
            fail("the backend of \(device.key.frontend)/\(device.key.device) maps a page that the guest has given up")
        }
    }

    /// A guest whose channels were all removed holds nothing but its port to the store.
    func checkGuestLeaks() {
        for guest in guests where guest.isRunning {
            guard let domain = guest.domain else { continue }
            guest.daemon?.retryDeferred()
            let leaks = world.hypervisor.leaks(of: domain)
            for grant in leaks.grants { fail("left over: \(grant)") }
            for port in leaks.ports.dropFirst() { fail("left over: \(port)") }
            for device in guest.daemon?.sortedDevices ?? [] {
                fail("guest \(guest.index) still has device \(device.key.device)")
            }
        }
        let running = guests.count(where: \.isRunning)
        let watches = world.store.server.watchCount
        if !world.chance.isDamaged, watches != running + 1 {
            fail("\(watches) watches are left of \(running) guests and a backend")
        }
    }

    private func check(_ record: ChannelRecord, _ name: String) {
        guard let frontend = record.frontend, let backend = record.backend, frontend.isConnected, backend.isConnected
        else {
            if !world.chance.isDamaged {
                let front = record.frontend.map { "\($0.machine.state)" } ?? "none"
                let back = record.backend.map { "\($0.machine.state)" } ?? "none"
                fail("\(name) is not connected: its frontend is \(front), its backend \(back)")
            }
            return
        }
        guard let frame = frontend.frame else { return fail("\(name) is connected without a page") }
        checkWakeups(frontend, backend, frame, name)
        if record.isExact, !world.chance.isDamaged { checkArrival(record, name) }
    }

    private func checkWakeups(_ frontend: FrontendDevice, _ backend: BackendDevice, _ frame: PageFrame, _ name: String)
    {
        let front = frontend.pump
        let back = backend.pump
        if frame.output.count > 0, back.relay.backlog.count < back.relay.limit {
            fail("\(name): \(frame.output.count) bytes wait in the out ring, and the backend sleeps")
        }
        if frame.input.count > 0, front.relay.backlog.count < front.relay.limit {
            fail("\(name): \(frame.input.count) bytes wait in the in ring, and the frontend sleeps")
        }
        if let pipe = back.pipe, !pipe.inward.isEmpty, frame.input.freeCapacity > 0 {
            fail("\(name): the client's bytes wait, the in ring has room, and the backend sleeps")
        }
        if let pipe = front.pipe, !pipe.inward.isEmpty, frame.output.freeCapacity > 0 {
            fail("\(name): the agent's bytes wait, the out ring has room, and the frontend sleeps")
        }
    }

    /// Nothing was lost, and everybody has said what he had to say.
    private func checkArrival(_ record: ChannelRecord, _ name: String) {
        guard let client = record.client, let agent = record.agent, client.pipe != nil else { return }
        for (sender, receiver) in [(client, agent), (agent, client)] {
            let who = world.names[sender.id]
            if !sender.hasSentAll { fail("\(name): \(who) has sent \(sender.sent) bytes of \(sender.behavior.length)") }
            if sender.sent != receiver.received {
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
        let watches = world.store.server.watchCount
        if watches != 1 { fail("\(watches) watches are left, and the backend's scanner has one") }
        if world.store.server.transactionCount > 0 { fail("a transaction is left open") }
    }
}
