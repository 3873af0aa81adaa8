// SPDX-License-Identifier: MIT

import XenBus
import XenChannels
import XenHypervisor
import XenInterface
import XenStore

// The guest: its events, and what its machines ask for.
extension ChannelWorld {
    mutating func stepGuest(_ step: WorldStep) {
        switch step {
        case .guestRequest:
            guard let pending = guest.request else { return }
            guest.request = nil
            var client = guest.client
            let reply = perform(pending, &client)
            guest.client = client
            giveGuest(.reply(reply))
            if let next = guest.request, goesOn(from: pending, to: next) { stepGuest(.guestRequest) }
        case .guestScan:
            guard let request = guest.scannerRequest else { return }
            guest.scannerRequest = nil
            var client = guest.client
            let reply = perform(PendingRequest(request: request, transaction: .none), &client)
            guest.client = client
            scanGuest(.reply(reply))
        case .guestEvent:
            takeGuestEvents()
        case .guestTask:
            let task = guest.tasks.removeFirst()
            doGuest(task)
        case .guestTimer:
            guest.hasTimer = false
            giveGuest(.timeout)
        case .daemonRequest, .daemonScan, .daemonEvent, .daemonTask, .daemonTimer, .story:
            break
        }
    }

    /// Takes the oldest event, or all of its kind that follow: one wake-up, many events.
    private mutating func takeGuestEvents() {
        var last: String?
        while let event = guest.client.inbox.first, last ?? event.token == event.token {
            guest.client.inbox.removeFirst()
            if event.token == "scan" { scanGuest(.changed(event.path)) } else { giveGuest(.backendChanged) }
            if !isCoarse { return }
            followAtOnce()
            last = event.token
        }
    }

    mutating func scanGuest(_ event: DeviceScanner.Event) {
        for action in guest.scanner.handle(event) {
            switch action {
            case .store(let request, _): guest.scannerRequest = request
            case .appeared(let key):
                guest.machine = ChannelFrontend(key: key, token: "backend")
                giveGuest(.start)
            case .changed(_, let change): giveGuest(.ownChanged(change))
            case .vanished: giveGuest(.removed)
            case .report(let diagnostic): guest.reports.append(diagnostic)
            // The store of this world refuses no listing.
            case .startTimer, .stopTimer, .finished: break
            }
        }
    }

    mutating func giveGuest(_ event: ChannelFrontend.Event) {
        guard let actions = guest.machine?.handle(event) else { return }
        for action in actions {
            switch action {
            case .store(let request, let transaction):
                guest.request = PendingRequest(request: request, transaction: transaction)
            case .prepare, .release: guest.tasks.append(action)
            case .connected: guest.isConnected = true
            case .disconnected: guest.isConnected = false
            case .startTimer: guest.hasTimer = true
            case .stopTimer: guest.hasTimer = false
            case .report(let diagnostic): guest.reports.append(diagnostic)
            case .finished:
                guest.hasTimer = false
                guest.machine = nil
                scanGuest(.forget(DeviceKey(frontend: ChannelWorld.guestDomain, device: ChannelWorld.device)))
            }
        }
    }

    private mutating func doGuest(_ task: ChannelFrontend.Action) {
        if case .prepare(let backend, _) = task {
            makeGuestResources(for: backend)
            if let grant = guest.grant, let port = guest.port {
                giveGuest(.prepared(grant, port))
            } else {
                giveGuest(.failed("no page or port is left"))
            }
        } else {
            releaseGuestResources()
            giveGuest(.released)
        }
    }

    /// Grants the lowest page that nobody can reach any more, and allocates a port.
    mutating func makeGuestResources(for backend: DomainID) {
        let domain = ChannelWorld.guestDomain
        let frame = (16...).first { !hypervisor.isGranted(FrameNumber($0), of: domain) } ?? 16
        let page = FrameNumber(frame)
        guest.grant = try? hypervisor.grantAccess(to: backend, frame: page, readOnly: false, of: domain)
        guest.port = try? hypervisor.allocateUnbound(in: domain, for: backend)
    }
}

// The daemon, likewise.
extension ChannelWorld {
    mutating func stepDaemon(_ step: WorldStep) {
        switch step {
        case .daemonRequest:
            guard let pending = daemon?.request, var client = daemon?.client else { return }
            daemon?.request = nil
            let reply = perform(pending, &client)
            daemon?.client = client
            giveDaemon(.reply(reply))
            if let next = daemon?.request, goesOn(from: pending, to: next) { stepDaemon(.daemonRequest) }
        case .daemonScan:
            guard let request = daemon?.scannerRequest, var client = daemon?.client else { return }
            daemon?.scannerRequest = nil
            let reply = perform(PendingRequest(request: request, transaction: .none), &client)
            daemon?.client = client
            scanDaemon(.reply(reply))
        case .daemonEvent:
            takeDaemonEvents()
        case .daemonTask:
            guard let task = daemon?.tasks.removeFirst() else { return }
            doDaemon(task)
        case .daemonTimer:
            daemon?.hasTimer = false
            giveDaemon(.timeout)
        case .guestRequest, .guestScan, .guestEvent, .guestTask, .guestTimer, .story:
            break
        }
    }

    private mutating func takeDaemonEvents() {
        var last: String?
        while let event = daemon?.client.inbox.first, last ?? event.token == event.token {
            daemon?.client.inbox.removeFirst()
            if event.token == "scan" { scanDaemon(.changed(event.path)) } else { giveDaemon(.frontendChanged) }
            if !isCoarse { return }
            followAtOnce()
            last = event.token
        }
    }

    mutating func scanDaemon(_ event: DeviceScanner.Event) {
        for action in daemon?.scanner.handle(event) ?? [] {
            switch action {
            case .store(let request, _): daemon?.scannerRequest = request
            case .appeared(let key):
                let paths = DevicePaths(frontend: key.frontend, backend: .dom0, device: key.device)
                daemon?.machine = ChannelBackend(paths: paths, token: "frontend")
                giveDaemon(.start)
            case .changed(_, let change): giveDaemon(.ownChanged(change))
            case .vanished: giveDaemon(.ownChanged(.other))
            case .report(let diagnostic): daemon?.reports.append(diagnostic)
            case .startTimer, .stopTimer: break
            case .finished:
                daemon?.isScanning = false
                endIfStopped()
            }
        }
    }

    mutating func giveDaemon(_ event: ChannelBackend.Event) {
        guard let actions = daemon?.machine?.handle(event) else { return }
        for action in actions {
            switch action {
            case .store(let request, let transaction):
                daemon?.request = PendingRequest(request: request, transaction: transaction)
            case .open, .attach, .detach: daemon?.tasks.append(action)
            case .closeEndpoint: daemon?.isOpen = false
            case .startTimer: daemon?.hasTimer = true
            case .stopTimer: daemon?.hasTimer = false
            case .report(let diagnostic): daemon?.reports.append(diagnostic)
            case .finished:
                daemon?.hasTimer = false
                daemon?.machine = nil
                scanDaemon(.forget(DeviceKey(frontend: ChannelWorld.guestDomain, device: ChannelWorld.device)))
                endIfStopped()
            }
        }
    }

    /// A daemon that was asked to stop ends when nothing is left to do.
    private mutating func endIfStopped() {
        guard let side = daemon, side.isStopping, !side.isScanning, side.machine == nil else { return }
        server.disconnect(side.client.id)
        daemon = nil
    }

    private mutating func doDaemon(_ task: ChannelBackend.Action) {
        switch task {
        case .open:
            daemon?.isOpen = true
            giveDaemon(.opened(tty: "/dev/pts/1"))
        case .attach(let attachment):
            attach(attachment)
        case .detach:
            detach()
            giveDaemon(.detached)
        case .store, .closeEndpoint, .startTimer, .stopTimer, .report, .finished:
            break
        }
    }

    private mutating func attach(_ attachment: ChannelAttachment) {
        do {
            let owner = attachment.frontend
            _ = try hypervisor.map(attachment.ring, of: owner, readOnly: false, by: .dom0)
            daemon?.attachment = attachment
            daemon?.port = try hypervisor.bindInterdomain(in: .dom0, remote: owner, port: attachment.port)
            giveDaemon(.attached)
        } catch {
            detach()
            giveDaemon(.failed("\(error)"))
        }
    }

    mutating func detach() {
        if let port = daemon?.port { try? hypervisor.close(port, of: .dom0) }
        for mapping in hypervisor.leaks(of: .dom0).mappings { _ = try? hypervisor.unmap(mapping, by: .dom0) }
        daemon?.port = nil
        daemon?.attachment = nil
    }
}
