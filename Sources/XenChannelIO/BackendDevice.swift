// SPDX-License-Identifier: MIT

import XenBus
import XenChannels
import XenHypervisor
import XenInterface
import XenRing

/// One channel or primary console of the backend: carries out what its machine asks for.
final class BackendDevice: ServedDevice {
    let key: DeviceKey
    var drive: MachineDrive<BackendMachine>
    private unowned let daemon: BackendDaemon
    private unowned let shell: DeviceShell<BackendDevice>
    private let domain: LiveDomain
    let reactor: Reactor
    private var endpoint: (any Endpoint)? {
        didSet { unsafe listener.user = endpoint?.user.listener }
    }
    let listener = PortListener()
    private var connection = ChannelConnection.pty
    private var name: String?
    private var mapping: GrantMapping?
    private var ring: AttachedRing?
    /// How many bytes of the guest may wait outside its ring.
    private var limit = ChannelAttachment.defaultLimit
    /// What was counted at rings that were left.
    private var earlier = ChannelStatistics()
    private var port: EventChannelPort?

    init(_ key: DeviceKey, of daemon: BackendDaemon, in shell: DeviceShell<BackendDevice>) {
        self.key = key
        self.daemon = daemon
        self.shell = shell
        domain = shell.domain
        reactor = shell.reactor
        let paths = DevicePaths(frontend: key.frontend, backend: shell.domain.id, device: key.device)
        let machine = BackendMachine(paths: paths, token: DeviceShell<BackendDevice>.token(of: key))
        drive = MachineDrive(machine)
    }

    /// A device that is still attached belongs to a backend that was killed: the kernel lets go for it.
    deinit {
        // What its last event brought is found at the loop's end, and told to nobody.
        endpoint?.user.onViolation = { _ in }
        endpoint?.user.onOverflow = {}
        // All others end with their last reference; a task may hold on to this.
        (endpoint as? ChannelStream)?.close()
        stopTimer()
        if let port { unsafe try? domain.events.close(port) }
        if let mapping { try? domain.grants.unmap(mapping) }
    }

    var status: ChannelStatus {
        ChannelStatus(
            frontend: key.frontend,
            device: key.device,
            name: name,
            connection: connection,
            tty: endpoint?.tty,
            isConnected: machine.isConnected,
            bytesUndelivered: endpoint?.user.backlogCount ?? 0,
            bytesUntaken: endpoint.map { $0.user.inboundCount + $0.user.untakenCount } ?? 0,
            statistics: statistics
        )
    }

    private var statistics: ChannelStatistics {
        var sum = earlier
        if let endpoint { sum.add(endpoint.user.statistics) }
        if let ring { sum.add(ring) }
        return sum
    }

    func connectionChanged() {
        daemon.deviceChanged(self)
    }

    func carryOut(_ action: ChannelBackend.Action) {
        switch action {
        case .store(let request, let transaction):
            handle(.reply(domain.store.perform(request, in: transaction)))
        case .open(let endpoint, let name):
            self.name = name
            open(endpoint)
        case .attach(let attachment):
            attach(attachment)
        case .detach:
            detach()
            handle(.detached)
        case .closeEndpoint:
            daemon.deviceCloses(status)
            if let endpoint { earlier.add(endpoint.user.statistics) }
            endpoint?.close()
            endpoint = nil
        case .startTimer(let duration):
            startTimer(duration)
        case .stopTimer:
            stopTimer()
        case .report(let diagnostic):
            shell.onReport(diagnostic)
        case .finished:
            stopTimer()
            shell.finished(self)
        }
    }

    private func open(_ connection: ChannelConnection) {
        self.connection = connection
        if let handler = daemon.handlers(name) {
            let stream = ChannelStream(on: reactor, service: daemon.service(name))
            stream.onDone = { [unowned self] in handle(.close) }
            endpoint = stream
            handler.start(stream)
            opened()
            return
        }
        do throws(SystemError) {
            switch connection {
            case .pty:
                endpoint = try TerminalEndpoint(
                    on: reactor,
                    watcher: shell.openWatcher(),
                    service: daemon.service(name)
                )
            case .socket(let path):
                endpoint = try SocketEndpoint(path: path, on: reactor, service: daemon.service(name)) {
                    [unowned self] in report("clients wait: \($0)")
                }
            }
            opened()
        } catch {
            handle(.failed(error.description))
        }
    }

    private func opened() {
        endpoint?.user.onViolation = { [unowned self] in report($0.description) }
        endpoint?.user.onOverflow = { [unowned self] in
            report("nobody takes the guest's bytes: \(statistics.bytesDropped) dropped so far")
        }
        // A primary console is opened when its ring is there, a channel before.
        if let ring { endpoint?.user.attach(ring, limit: limit) }
        handle(.opened(tty: endpoint?.tty))
    }

    private func attach(_ attachment: ChannelAttachment) {
        do {
            let mapping = try domain.grants.map(attachment.ring, of: attachment.frontend, readOnly: false)
            self.mapping = mapping
            let port = unsafe try domain.events.bindInterdomain(attachment.frontend, port: attachment.port)
            self.port = port
            shell.register(self, at: port)
            guard let memory = domain.memory(of: mapping) else { throw GrantError.badHandle }
            let ring = try AttachedRing(attaching: memory) { [domain] in domain.notify(port) }
            self.ring = ring
            earlier.connections += 1
            limit = attachment.limit
            endpoint?.user.attach(ring, limit: limit)
            handle(.attached)
        } catch {
            detach()
            handle(.failed("\(error)"))
        }
    }

    private func detach() {
        endpoint?.user.detachRing()
        if let ring { earlier.add(ring) }
        ring = nil
        if let port { shell.close(port) }
        port = nil
        if let mapping { try? domain.grants.unmap(mapping) }
        mapping = nil
    }

    private func report(_ text: String) {
        shell.onReport(DeviceDiagnostic(machine.paths.frontend, .service(text)))
    }
}
