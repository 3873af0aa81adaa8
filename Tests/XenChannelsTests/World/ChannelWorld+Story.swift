// SPDX-License-Identifier: MIT

import XenBus
import XenChannels
import XenHypervisor
import XenInterface
import XenStore

// What happens from outside.
extension ChannelWorld {
    mutating func happen(_ event: StoryEvent) {
        trace?.append("story: \(event)")
        switch event {
        case .plug:
            let specification = ChannelSpecification(name: "org.example.agent.0", connection: .pty)
            guard let channel = try? ChannelConfiguration(specification, device: ChannelWorld.device) else { return }
            transact(channel.creation(in: ChannelWorld.guestDomain))
            isPlugged = true
        case .unplug:
            guard isPlugged else { return }
            let backend = ChannelWorld.paths.backend
            transact([
                StoreStep(.write(backend.appending("online"), "0")),
                StoreStep(.write(backend.appending("state"), XenbusState.closing.storeValue)),
            ])
        case .remove:
            remove()
        case .closeFrontend:
            guest.wasClosed = true
            giveGuest(.close)
        case .rebootGuest:
            bootGuest()
        case .republish:
            republish()
        case .stopDaemon:
            guard daemon != nil else { return }
            daemon?.isStopping = true
            scanDaemon(.stop)
            giveDaemon(.close)
        case .restartDaemon:
            killDaemon()
            startDaemon()
        case .startDaemon:
            if daemon == nil { startDaemon() }
        case .settle:
            break
        }
        states = readStates()
    }

    /// What mini-os does when it was resumed: all in one transaction, with its state at 4 again.
    private mutating func republish() {
        let directory = ChannelWorld.paths.frontend
        let state = directory.appending("state")
        guard guest.isConnected, value(state) == XenbusState.connected.storeValue else { return }
        let old = (grant: guest.grant, port: guest.port)
        makeGuestResources(for: .dom0)
        guard let grant = guest.grant, let port = guest.port else { return }
        transact([
            StoreStep(.write(directory.appending("ring-ref"), StoreValue(decimal: grant.rawValue))),
            StoreStep(.write(directory.appending("port"), StoreValue(decimal: port.rawValue))),
            StoreStep(.write(state, XenbusState.connected.storeValue)),
        ])
        if let port = old.port { try? hypervisor.close(port, of: ChannelWorld.guestDomain) }
        if let grant = old.grant { end(grant) }
    }

    private mutating func remove() {
        guard case .transaction(let id) = asToolstack(.beginTransaction) else { return }
        var removal = ConsoleDeviceRemoval(of: ChannelWorld.device, in: ChannelWorld.guestDomain)
        var reply: StoreReply?
        while let step = removal.nextStep(after: reply) {
            reply = asToolstack(step.request, in: id)
        }
        _ = asToolstack(.endTransaction(commit: true), in: id)
        isPlugged = false
    }

    /// A kernel begins: what the one before it had open is gone, but for what others still map.
    mutating func bootGuest() {
        if guest.client.id != toolstack { server.disconnect(guest.client.id) }
        releaseGuestResources()
        let client = StoreClient(id: server.connect(as: ChannelWorld.guestDomain))
        guest = GuestSide(client, domain: ChannelWorld.guestDomain)
        scanGuest(.start)
    }

    mutating func startDaemon() {
        let side = DaemonSide(StoreClient(id: server.connect(as: .dom0)))
        daemon = side
        scanDaemon(.start)
    }

    /// The daemon's process ends: the kernel unmaps, unbinds, and closes its connection (B7).
    mutating func killDaemon() {
        guard let side = daemon else { return }
        detach()
        server.disconnect(side.client.id)
        daemon = nil
    }

    /// Everything is taken down, as at the end of a host's day.
    mutating func takeDown() {
        story = []
        happen(.remove)
        killDaemon()
        server.disconnect(guest.client.id)
        releaseGuestResources()
        endDeferred()
    }

    mutating func releaseGuestResources() {
        if let port = guest.port { try? hypervisor.close(port, of: ChannelWorld.guestDomain) }
        if let grant = guest.grant { end(grant) }
        guest.port = nil
        guest.grant = nil
    }

    mutating func end(_ grant: GrantReference) {
        do {
            try hypervisor.endAccess(grant, of: ChannelWorld.guestDomain)
        } catch {
            deferred.append(grant)
        }
    }

    /// Tries again what could not be ended, as Linux does from time to time (F5).
    mutating func endDeferred() {
        let waiting = deferred
        deferred = []
        for grant in waiting { end(grant) }
    }
}
