// SPDX-License-Identifier: MIT

import XenBus
import XenChannels
import XenHypervisor
import XenInterface
import XenRing

/// The frontend of one channel.
final class FrontendDevice: Device {
    private enum Work: Hashable {
        case action(ChannelFrontend.Action)
        case grant(DomainID)
        case allocate(DomainID)
        case endGrant
        case closePort
        case tell(ChannelFrontend.Event)
    }

    private(set) var machine: ChannelFrontend {
        unsafeAddress { unsafe machineSlot.reading }
        unsafeMutableAddress { unsafe machineSlot.writing }
    }
    private let machineSlot: Slot<ChannelFrontend>
    private var queue: WorkQueue<Work> {
        unsafeAddress { unsafe queueSlot.reading }
        unsafeMutableAddress { unsafe queueSlot.writing }
    }
    private let queueSlot = Slot(WorkQueue<Work>())
    private var page: (frame: PageFrame, reference: GrantReference)?
    private var box: RingBox?

    init(_ id: Int, _ key: DeviceKey, of channel: ChannelRecord?, for daemon: Daemon, token: String) {
        let machine = ChannelFrontend(key: key, token: token)
        machineSlot = Slot(machine)
        super.init(id, key, state: machine.ownState, of: channel, for: daemon, side: .frontend)
        channel?.frontend = self
    }

    override var hasWork: Bool { !queue.isEmpty }
    var isConnected: Bool { machine.state == .connected }
    var frame: PageFrame? { page?.frame }

    func handle(_ event: ChannelFrontend.Event) {
        world.coverage.note(event, in: machine.state)
        if let substitution = world.substitution {
            for action in substitution.handle(event, by: &machine) { queue.append(.action(action)) }
        } else {
            var actions = ActionList<ChannelFrontend.Action>()
            machine.handle(event, into: &actions)
            while let action = actions.next() { queue.append(.action(action)) }
        }
        if !queue.isEmpty { world.wake(id) }
    }

    override func start() { handle(.start) }
    override func peerChanged() { handle(.backendChanged) }
    override func ownChanged() { handle(.ownChanged) }
    override func close() { handle(.close) }
    override func vanished() { handle(.removed) }
    override func machineTimerFired() { handle(.timeout) }

    override func work() -> Bool {
        while let next = queue.popFirst() {
            if carryOut(next) { return true }
        }
        return false
    }

    private func carryOut(_ work: Work) -> Bool {
        switch work {
        case .action(let action): return carryOut(action)
        case .grant(let backend): grant(to: backend)
        case .allocate(let backend): allocate(for: backend)
        case .endGrant: return endGrant()
        case .closePort: return closePort()
        case .tell(let event):
            handle(event)
            return false
        }
        return true
    }

    private func carryOut(_ action: ChannelFrontend.Action) -> Bool {
        switch action {
        case .store(let request, let transaction):
            handle(.reply(perform(request, in: transaction)))
            return true
        case .prepare(let backend, _):
            queue.prepend([.grant(backend)])
        case .connected:
            connectAgent()
        case .disconnected:
            disconnectAgent()
        case .release:
            queue.prepend([.endGrant, .closePort, .tell(.released)])
        case .startTimer(let duration):
            startTimer(duration)
        case .stopTimer:
            world.timers.stop(id, .machine)
        case .report(let diagnostic):
            world.note(diagnostic.description)
        case .finished:
            world.timers.stop(id, .machine)
            daemon.finished(self)
        }
        return false
    }

    // MARK: The page and the port

    private func grant(to backend: DomainID) {
        let frame = world.allocateFrame(of: daemon.domain)
        do throws(GrantError) {
            guard
                let reference = try daemon.services?.grants.grantAccess(
                    to: backend,
                    page: frame.number,
                    readOnly: false
                )
            else { return }
            page = (frame, reference)
            box = RingBox(fresh: world.access(to: frame, as: .frontend))
            world.note("grants page \(frame.number) as \(reference)")
            queue.prepend([.allocate(backend)])
        } catch {
            world.free(.init(domain: daemon.domain, frame: frame.number))
            queue.prepend([.tell(.failed("\(error)"))])
        }
    }

    private func allocate(for backend: DomainID) {
        do throws(EventChannelError) {
            guard let page, let made = try daemon.services?.events.allocateUnbound(for: backend) else { return }
            port = made
            daemon.register(self, at: made)
            world.note("allocates port \(made)")
            queue.prepend([.tell(.prepared(page.reference, made))])
        } catch {
            world.note("cannot allocate a port: \(error)")
            queue.prepend([.endGrant, .tell(.failed("\(error)"))])
        }
    }

    private func endGrant() -> Bool {
        guard let page else { return false }
        page.frame.isAbandoned = true
        if !pump.relay.backlog.isEmpty || page.frame.holdsLostBytes { channel?.isExact = false }
        box?.access.isLive = false
        box = nil
        pump.ring = nil
        self.page = nil
        daemon.release(page.frame, page.reference)
        return true
    }

    private func closePort() -> Bool {
        guard let port else { return false }
        daemon.unregister(port)
        if world.substitution?.closesPort() ?? true { try? daemon.services?.events.close(port) }
        self.port = nil
        world.note("closes port \(port)")
        return true
    }

    // MARK: The agent

    private func connectAgent() {
        pump.ring = box
        guard let agent = channel?.agent else { return }
        let pipe = Pipe(device: id, program: agent.id)
        pump.pipe = pipe
        agent.pipe = pipe
        pump.look = .all
        world.note("connected", to: agent.id)
        world.wake(agent.id)
    }

    private func disconnectAgent() {
        if !pump.relay.backlog.isEmpty || !(pump.pipe?.inward.isEmpty ?? true) { channel?.isExact = false }
        channel?.agent?.hangUp()
        pump.pipe = nil
        pump.ring = nil
        pump.mustNotify = false
        pump.look = []
    }

    // MARK: The end

    override func die() {
        disconnectAgent()
        box?.access.isLive = false
        box = nil
        queue.removeAll()
        world.retire(id)
    }

    override func hash(into hasher: inout Hasher) {
        hasher.combine(machine)
        hasher.combine(queue)
        hasher.combine(page?.reference)
        pump.hash(into: &hasher)
    }
}
