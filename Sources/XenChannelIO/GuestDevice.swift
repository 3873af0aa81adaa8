// SPDX-License-Identifier: MIT

import XenBus
import XenChannels
import XenHypervisor
import XenInterface
import XenRing

/// One channel of a guest, or its primary console: carries out what its machine asks for.
final class GuestDevice: ServedDevice {
    let key: DeviceKey
    var drive: MachineDrive<FrontendMachine>
    private unowned let daemon: GuestDaemon
    private unowned let shell: DeviceShell<GuestDevice>
    private let domain: LiveDomain
    let reactor: Reactor
    private var name: String?
    private var grant: GuestPage?
    private var port: EventChannelPort?
    private var ring: AttachedRing?
    private var agent: (any Endpoint)? {
        didSet { unsafe listener.user = agent?.user.listener }
    }
    let listener = PortListener()
    /// How often the channel was connected, and what was counted at rings that were left.
    private var earlier = ChannelStatistics()

    init(_ key: DeviceKey, of daemon: GuestDaemon, in shell: DeviceShell<GuestDevice>) {
        self.key = key
        self.daemon = daemon
        self.shell = shell
        domain = shell.domain
        reactor = shell.reactor
        let machine = FrontendMachine(key: key, token: DeviceShell<GuestDevice>.token(of: key))
        drive = MachineDrive(machine)
    }

    deinit {
        // What its last event brought is found at the loop's end, and told to nobody.
        agent?.user.onViolation = { _ in }
        // All others end with their last reference; a task may hold on to this.
        (agent as? ChannelStream)?.close()
        stopTimer()
    }

    var status: AgentStatus {
        AgentStatus(
            device: key.device,
            name: name,
            isConnected: machine.isConnected,
            tty: agent?.tty,
            bytesUndelivered: agent?.user.backlogCount ?? 0,
            bytesUnsent: agent?.user.inboundCount ?? 0,
            statistics: statistics
        )
    }

    private var statistics: ChannelStatistics {
        var sum = earlier
        if let agent { sum.add(agent.user.statistics) }
        if let ring { sum.add(ring) }
        return sum
    }

    func connectionChanged() {
        daemon.deviceChanged(self)
    }

    @inline(never)  // The compiler fails otherwise (6.3.1, CopyPropagation).
    func carryOut(_ action: ChannelFrontend.Action) {
        switch action {
        case .store(let request, let transaction):
            handle(.reply(domain.store.perform(request, in: transaction)))
        case .prepare(let backend, let name):
            self.name = name
            if key.device == .primaryConsole { useConsole() } else { prepare(for: backend) }
        case .connected:
            startAgent()
        case .disconnected:
            agent?.user.detachRing()
            daemon.agentEnds(status)
            if let agent { earlier.add(agent.user.statistics) }
            agent?.close()
            agent = nil
        case .release:
            release()
            handle(.released)
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

    private func prepare(for backend: DomainID) {
        do {
            let grant = try domain.grantPage(to: backend)
            self.grant = grant
            let port = unsafe try domain.events.allocateUnbound(for: backend)
            self.port = port
            shell.register(self, at: port)
            ring = AttachedRing(fresh: grant.memory) { [domain] in domain.notify(port) }
            handle(.prepared(grant.reference, port))
        } catch {
            release()
            handle(.failed("\(error)"))
        }
    }

    /// Takes up what the domain's builder made; an earlier kernel of the guest may have used it (B1, B2).
    private func useConsole() {
        guard let (page, port) = domain.primaryConsole else {
            return handle(.failed("the guest was built without a primary console"))
        }
        do throws(RingViolation) {
            ring = try AttachedRing(attaching: page.memory, as: .frontend) { [domain] in domain.notify(port) }
            self.port = port
            shell.register(self, at: port)
            handle(.prepared(page.reference, port))
        } catch {
            handle(.failed("\(error)"))
        }
    }

    private func startAgent() {
        guard let ring else { return }
        do throws(SystemError) {
            switch daemon.agents(name) {
            case .echo: agent = LoopbackEndpoint(givesBack: true)
            case .discard: agent = LoopbackEndpoint(givesBack: false)
            case .program(let command):
                agent = try program(command, restarts: key.device == .primaryConsole)
            case .service(let command):
                agent = try program(command, restarts: true)
            case .handler(let handler):
                agent = stream(for: handler)
            case .terminal:
                agent = try TerminalEndpoint(on: reactor, watcher: shell.openWatcher())
            }
            agent?.user.onViolation = { [unowned self] in report($0.description) }
            earlier.connections += 1
            agent?.user.attach(ring, limit: GuestDevice.limit)
        } catch {
            report(error.description)
            handle(.close)
        }
    }

    private func program(_ command: String, restarts: Bool) throws(SystemError) -> ProgramEndpoint {
        let onRestart: (String) -> Void = { [unowned self] in report($0) }
        let program = try ProgramEndpoint(
            command: command,
            on: reactor,
            onEnd: { [unowned self] in handle(.close) },
            onGone: { [shell] in shell.release() },
            onRestart: restarts ? onRestart : nil
        )
        shell.hold()
        return program
    }

    private func stream(for handler: ChannelHandler) -> ChannelStream {
        let stream = ChannelStream(on: reactor)
        stream.onDone = { [unowned self] in handle(.close) }
        handler.start(stream)
        return stream
    }

    /// How many bytes from the ring may wait for a guest's program or terminal.
    private static let limit = 65_536

    private func release() {
        if let ring { earlier.add(ring) }
        ring = nil
        if let grant { daemon.release(grant) }
        grant = nil
        if let port {
            // The console's is the builder's, like its page: the guest's next kernel uses it again.
            if key.device == .primaryConsole { shell.unregister(port) } else { shell.close(port) }
        }
        port = nil
    }

    private func report(_ text: String) {
        shell.onReport(DeviceDiagnostic(DevicePaths.frontend(key.device, of: key.frontend), .service(text)))
    }
}
