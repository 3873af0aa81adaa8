// SPDX-License-Identifier: MIT

import XenBus
import XenChannels
import XenHypervisor
import XenInterface
import XenRing

/// The frontend of one channel, or of a guest's primary console.
final class FrontendDevice: Device {
    private enum Work: Hashable {
        case action(ChannelFrontend.Action)
        case grant(DomainID)
        case allocate(DomainID)
        case adopt
        case endGrant
        case closePort
        case tell(ChannelFrontend.Event)
    }

    private let machine: FrontendMachine
    private var queue: WorkQueue<Work> {
        unsafeAddress { unsafe queueSlot.reading }
        unsafeMutableAddress { unsafe queueSlot.writing }
    }
    private let queueSlot = Slot(WorkQueue<Work>())
    private var page: (frame: PageFrame, reference: GrantReference)?
    private var box: RingBox?

    init(_ id: Int, _ key: DeviceKey, of channel: ChannelRecord?, for daemon: Daemon, token: String) {
        machine = FrontendMachine(key, token: token)
        super.init(id, key, state: machine.ownState, of: channel, for: daemon, side: .frontend)
        channel?.frontend = self
    }

    override var hasWork: Bool { !queue.isEmpty }
    private var isConsole: Bool { key.device == .primaryConsole }
    var isConnected: Bool { machine.isConnected }
    var progress: String { machine.progress }
    /// How far a channel's handshake is.
    var handshake: FrontendHandshake.State? { machine.handshake }
    var frame: PageFrame? { page?.frame }

    func handle(_ event: ChannelFrontend.Event) {
        var actions = ActionList<ChannelFrontend.Action>()
        machine.handle(event, in: world, into: &actions)
        while let action = actions.next() { queue.append(.action(action)) }
        if !queue.isEmpty { world.wake(id) }
    }

    override func start() { handle(.start) }
    override func peerChanged() { handle(.backendChanged) }
    override func ownChanged(_ change: OwnChange) { handle(.ownChanged(change)) }
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
        case .adopt: adoptConsole()
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
            let reply = perform(request, in: transaction)
            if let next = machine.advance(reply, in: world) {
                queue.append(.action(.store(next.request, in: next.transaction)))
            } else {
                handle(.reply(reply))
            }
            return true
        case .prepare(let backend, _):
            queue.prepend(isConsole ? .adopt : .grant(backend))
        case .connected:
            connectAgent()
        case .disconnected:
            disconnectAgent()
        case .release:
            if isConsole { leaveConsole() }
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
            queue.prepend(.allocate(backend))
        } catch {
            world.free(.init(domain: daemon.domain, frame: frame.number))
            queue.prepend(.tell(.failed("\(error)")))
        }
    }

    private func allocate(for backend: DomainID) {
        do throws(EventChannelError) {
            guard let page, let made = try daemon.services?.events.allocateUnbound(for: backend) else { return }
            port = made
            daemon.register(self, at: made)
            world.note("allocates port \(made)")
            queue.prepend(.tell(.prepared(page.reference, made)))
        } catch {
            world.note("cannot allocate a port: \(error)")
            queue.prepend([.endGrant, .tell(.failed("\(error)"))])
        }
    }

    /// Takes up what the domain's builder made; an earlier kernel of the guest may have used it (B1, B2).
    private func adoptConsole() {
        guard let console = daemon.console else {
            return queue.prepend(.tell(.failed("the guest was built without a primary console")))
        }
        do throws(RingViolation) {
            let box = try RingBox(attaching: world.access(to: console.frame, as: .frontend))
            self.box = box
            page = (console.frame, .console)
            port = console.port
            daemon.register(self, at: console.port)
            pump.mustNotify = box.wasUsed
            world.note("takes up the console's page and port \(console.port)")
            queue.prepend(.tell(.prepared(.console, console.port)))
        } catch {
            queue.prepend(.tell(.failed("\(error)")))
        }
    }

    /// The console's page and port are the builder's: the guest's next kernel uses them again.
    private func leaveConsole() {
        box?.access.isLive = false
        box = nil
        page = nil
        if let port { daemon.unregister(port) }
        port = nil
    }

    private func endGrant() -> Bool {
        guard let page else { return false }
        page.frame.isAbandoned = true
        if !pump.relay.backlog.isEmpty || page.frame.holdsLostBytes { channel?.isExact = false }
        if page.frame.holdsLostBytes { channel?.isCounted = false }
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
        let unsent = pump.pipe?.inward.count ?? 0
        if !pump.relay.backlog.isEmpty || unsent > 0 { channel?.isExact = false }
        channel?.lostFromGuest += UInt64(unsent)
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
        machine.hash(into: &hasher)
        hasher.combine(queue)
        hasher.combine(page?.reference)
        pump.hash(into: &hasher)
    }
}
