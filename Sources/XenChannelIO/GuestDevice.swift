// SPDX-License-Identifier: MIT

import XenBus
import XenChannels
import XenHypervisor
import XenInterface
import XenRing

/// One channel of a guest: carries out what its machine asks for.
final class GuestDevice {
    let key: DeviceKey
    private unowned let daemon: GuestDaemon
    private var machine: ChannelFrontend
    private var events: [ChannelFrontend.Event] = []
    private var isHandling = false
    private var timer: Reactor.Timer?
    private var name: String?
    private var backend = DomainID.dom0
    private var grant: GuestPage?
    private var port: EventChannelPort?
    private var ring: AttachedRing?
    private var agent: (any Endpoint)?

    init(_ key: DeviceKey, of daemon: GuestDaemon) {
        self.key = key
        self.daemon = daemon
        machine = ChannelFrontend(key: key, token: GuestDaemon.token(of: key.device))
    }

    var status: AgentStatus {
        AgentStatus(
            device: key.device,
            name: name,
            isConnected: machine.state == .connected,
            tty: agent?.tty,
            bytesUndelivered: agent?.user.backlogCount ?? 0,
            ringViolations: agent?.user.statistics.violations ?? 0
        )
    }

    func portFired() {
        agent?.user.ringChanged()
    }

    /// Gives the machine an event, and carries out all that follows from it.
    func handle(_ event: ChannelFrontend.Event) {
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

    private func carryOut(_ action: ChannelFrontend.Action) {
        switch action {
        case .store(let request, let transaction):
            events.append(.reply(daemon.domain.store.perform(request, in: transaction)))
        case .prepare(let backend, let name):
            self.name = name
            prepare(for: backend)
        case .connected:
            startAgent()
        case .disconnected:
            agent?.user.detachRing()
            agent?.close()
            agent = nil
        case .release:
            release()
            events.append(.released)
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

    private func prepare(for backend: DomainID) {
        do {
            let grant = try daemon.domain.grantPage(to: backend)
            self.grant = grant
            let port = unsafe try daemon.domain.events.allocateUnbound(for: backend)
            self.port = port
            daemon.register(self, at: port)
            ring = AttachedRing(fresh: grant.memory) { [unowned self] in notify() }
            events.append(.prepared(grant.reference, port))
        } catch {
            release()
            events.append(.failed("\(error)"))
        }
    }

    private func startAgent() {
        guard let ring else { return }
        do throws(SystemError) {
            switch daemon.agents(name) {
            case .echo: agent = LoopbackEndpoint(givesBack: true)
            case .discard: agent = LoopbackEndpoint(givesBack: false)
            case .program(let command):
                agent = try ProgramEndpoint(
                    command: command,
                    on: daemon.reactor,
                    onEnd: { [weak self] in self?.handle(.close) },
                    onGone: { [weak daemon] in daemon?.programEnded() }
                )
                daemon.programStarted()
            case .terminal:
                agent = try TerminalEndpoint(on: daemon.reactor, watcher: daemon.openWatcher())
            }
            agent?.user.onViolation = { [weak self] in self?.report($0) }
            agent?.user.attach(ring, limit: GuestDevice.limit)
        } catch {
            daemon.onReport(DeviceDiagnostic(.domain(key.frontend), .service(error.description)))
            events.append(.close)
        }
    }

    /// How many bytes from the ring may wait for a guest's program or terminal.
    private static let limit = 65_536

    private func release() {
        ring = nil
        if let grant {
            daemon.release(grant)
        }
        grant = nil
        if let port {
            daemon.unregister(port)
            unsafe try? daemon.domain.events.close(port)
        }
        port = nil
    }

    private func report(_ violation: RingViolation) {
        daemon.onReport(DeviceDiagnostic(.domain(key.frontend), .service(violation.description)))
    }

    private func notify() {
        guard let port else { return }
        unsafe try? daemon.domain.events.notify(port)
    }
}
