// SPDX-License-Identifier: MIT

import XenBus
import XenChannels
import XenHypervisor
import XenInterface
import XenRing

/// One channel of the backend: carries out what its machine asks for.
final class BackendDevice {
    let key: DeviceKey
    private unowned let daemon: BackendDaemon
    private var machine: ChannelBackend
    private var events: [ChannelBackend.Event] = []
    private var isHandling = false
    private var timer: Reactor.Timer?
    private var endpoint: (any Endpoint)?
    private var connection = ChannelConnection.pty
    private var name: String?
    private var mapping: GrantMapping?
    private(set) var port: EventChannelPort?

    init(_ key: DeviceKey, of daemon: BackendDaemon) {
        self.key = key
        self.daemon = daemon
        let paths = DevicePaths(frontend: key.frontend, backend: daemon.domain.id, device: key.device)
        machine = ChannelBackend(paths: paths, token: BackendDaemon.token(of: key))
    }

    var status: ChannelStatus {
        ChannelStatus(
            frontend: key.frontend,
            device: key.device,
            name: name,
            connection: connection,
            tty: endpoint?.tty,
            isConnected: machine.state == .connected,
            bytesUndelivered: endpoint?.user.backlogCount ?? 0,
            ringViolations: endpoint?.user.statistics.violations ?? 0
        )
    }

    /// The port is pending: clear, then look (E3).
    func portFired() {
        endpoint?.user.ringChanged()
    }

    /// Gives the machine an event, and carries out all that follows from it.
    func handle(_ event: ChannelBackend.Event) {
        events.append(event)
        guard !isHandling else { return }
        isHandling = true
        let wasConnected = machine.state == .connected
        while !events.isEmpty {
            for action in machine.handle(events.removeFirst()) {
                carryOut(action)
            }
        }
        // Who is told may close everything, which gives the machine further events.
        isHandling = false
        if wasConnected != (machine.state == .connected) {
            daemon.deviceChanged(self)
        }
    }

    private func carryOut(_ action: ChannelBackend.Action) {
        switch action {
        case .store(let request, let transaction):
            events.append(.reply(daemon.domain.store.perform(request, in: transaction)))
        case .open(let endpoint, let name):
            self.name = name
            open(endpoint)
        case .attach(let attachment):
            attach(attachment)
        case .detach:
            detach()
            events.append(.detached)
        case .closeEndpoint:
            daemon.deviceCloses(status)
            endpoint?.close()
            endpoint = nil
        case .startTimer(let duration):
            timer?.cancel()
            timer = daemon.reactor.after(duration) { [weak self] in self?.handle(.timeout) }
        case .stopTimer:
            timer?.cancel()
        case .report(let diagnostic):
            daemon.onReport(diagnostic)
        case .finished:
            timer?.cancel()
            daemon.deviceFinished(self)
        }
    }

    private func open(_ connection: ChannelConnection) {
        self.connection = connection
        do throws(SystemError) {
            switch connection {
            case .pty: endpoint = try TerminalEndpoint(on: daemon.reactor, watcher: daemon.openWatcher())
            case .socket(let path): endpoint = try SocketEndpoint(path: path, on: daemon.reactor)
            }
            endpoint?.user.onViolation = { [weak self] in self?.report($0) }
            events.append(.opened(tty: endpoint?.tty))
        } catch {
            events.append(.failed(error.description))
        }
    }

    private func attach(_ attachment: ChannelAttachment) {
        do {
            let mapping = try daemon.domain.grants.map(attachment.ring, of: attachment.frontend, readOnly: false)
            self.mapping = mapping
            let port = unsafe try daemon.domain.events.bindInterdomain(attachment.frontend, port: attachment.port)
            self.port = port
            daemon.register(self, at: port)
            guard let memory = daemon.domain.memory(of: mapping) else { throw GrantError.badHandle }
            let ring = try AttachedRing(attaching: memory) { [unowned self] in notify() }
            endpoint?.user.attach(ring, limit: attachment.limit)
            events.append(.attached)
        } catch {
            detach()
            events.append(.failed("\(error)"))
        }
    }

    private func detach() {
        endpoint?.user.detachRing()
        if let port {
            daemon.unregister(port)
            unsafe try? daemon.domain.events.close(port)
        }
        port = nil
        if let mapping {
            try? daemon.domain.grants.unmap(mapping)
        }
        mapping = nil
    }

    private func report(_ violation: RingViolation) {
        daemon.onReport(DeviceDiagnostic(machine.paths.frontend, .service(violation.description)))
    }

    private func notify() {
        guard let port else { return }
        // The guest may have died since: there is nobody to tell then.
        unsafe try? daemon.domain.events.notify(port)
    }
}
