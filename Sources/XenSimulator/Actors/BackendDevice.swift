// SPDX-License-Identifier: MIT

import XenBus
import XenChannels
import XenHypervisor
import XenInterface
import XenRing

/// The backend of one channel, or of a guest's primary console.
final class BackendDevice: Device {
    private enum Work: Hashable {
        case action(ChannelBackend.Action)
        case map(ChannelAttachment)
        case bind(ChannelAttachment)
        case join(ChannelAttachment)
        case drain
        case unbind
        case unmap
        case tell(ChannelBackend.Event)
    }

    private let machine: BackendMachine
    private var queue: WorkQueue<Work> {
        unsafeAddress { unsafe queueSlot.reading }
        unsafeMutableAddress { unsafe queueSlot.writing }
    }
    private let queueSlot = Slot(WorkQueue<Work>())
    private var mapping: GrantMapping?
    private var isOpen = false

    init(_ id: Int, _ key: DeviceKey, of channel: ChannelRecord?, for daemon: Daemon, backend: DomainID, token: String)
    {
        let paths = DevicePaths(frontend: key.frontend, backend: backend, device: key.device)
        machine = BackendMachine(paths, token: token)
        super.init(id, key, state: machine.ownState, of: channel, for: daemon, side: .backend)
        if let channel { pump.relay.policy = channel.plan.overflow }
    }

    override var hasWork: Bool { !queue.isEmpty }
    var isConnected: Bool { machine.isConnected }
    var progress: String { machine.progress }
    /// How far a channel's handshake is.
    var handshake: BackendHandshake.State? { machine.handshake }

    func handle(_ event: ChannelBackend.Event) {
        var actions = ActionList<ChannelBackend.Action>()
        machine.handle(event, in: world, into: &actions)
        while let action = actions.next() { queue.append(.action(action)) }
        if !queue.isEmpty { world.wake(id) }
    }

    override func start() { handle(.start) }
    override func peerChanged() { handle(.frontendChanged) }
    override func ownChanged(_ change: OwnChange) { handle(.ownChanged(change)) }
    override func close() { handle(.close) }
    override func vanished() { handle(.ownChanged(.other)) }
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
        case .map(let attachment): map(attachment)
        case .bind(let attachment): bind(attachment)
        case .join(let attachment): join(attachment)
        case .drain: drainLast()
        case .unbind: return unbind()
        case .unmap: return unmap()
        case .tell(let event):
            handle(event)
            return false
        }
        return true
    }

    private func carryOut(_ action: ChannelBackend.Action) -> Bool {
        switch action {
        case .store(let request, let transaction):
            let reply = perform(request, in: transaction)
            if let next = machine.advance(reply, in: world) {
                queue.append(.action(.store(next.request, in: next.transaction)))
            } else {
                handle(.reply(reply))
            }
            return true
        case .open(let connection, _):
            isOpen = true
            channel?.backend = self
            if let client = channel?.client { world.wake(client.id) }
            handle(.opened(tty: connection == .pty ? "/dev/pts/\(id)" : nil))
        case .attach(let attachment):
            queue.prepend(.map(attachment))
        case .detach:
            queue.prepend([.drain, .unbind, .unmap, .tell(.detached)])
        case .closeEndpoint:
            closeEndpoint()
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

    // MARK: The ring

    private func map(_ attachment: ChannelAttachment) {
        do throws(GrantError) {
            mapping = try daemon.services?.grants.map(attachment.ring, of: attachment.frontend, readOnly: false)
            world.note("maps grant \(attachment.ring)")
            queue.prepend(.bind(attachment))
        } catch {
            noteRefusal("cannot map grant \(attachment.ring): \(error)")
            queue.prepend(.tell(.failed("\(error)")))
        }
    }

    private func bind(_ attachment: ChannelAttachment) {
        do throws(EventChannelError) {
            guard let bound = try daemon.services?.events.bindInterdomain(attachment.frontend, port: attachment.port)
            else { return }
            port = bound
            daemon.register(self, at: bound)
            world.note("binds port \(bound) to \(attachment.port)")
            queue.prepend(.join(attachment))
        } catch {
            noteRefusal("cannot bind to port \(attachment.port): \(error)")
            queue.prepend([.unmap, .tell(.failed("\(error)"))])
        }
    }

    private func join(_ attachment: ChannelAttachment) {
        guard let mapping, let frame = world.frame(mapping.frame, of: mapping.owner) else {
            return queue.prepend([.unbind, .unmap, .tell(.failed("the page is gone"))])
        }
        do throws(RingViolation) {
            pump.ring = try RingBox(attaching: world.access(to: frame, as: .backend))
            pump.relay.limit = attachment.limit
            pump.overflow.begin(after: pump.relay.statistics)
            pump.look = .all
            // What the guest produced before may wait, and so may its need for room. An earlier life of the backend may have moved bytes
            // and died before it told the guest: it is told now.
            pump.mustNotify = pump.ring?.wasUsed ?? false
            world.note("joins the ring")
            queue.prepend(.tell(.attached))
        } catch {
            world.note("\(error)")
            queue.prepend([.unbind, .unmap, .tell(.failed("\(error)"))])
        }
    }

    /// What a sane frontend has published can be attached until it says otherwise; a device that recovers from it hides a bug.
    private func noteRefusal(_ text: String) {
        world.note(text)
        guard let channel, channel.isExpected, !channel.isHostile, !world.chance.isDamaged else { return }
        world.journal.fail("the backend of \(key.frontend)/\(key.device) \(text)")
    }

    private func drainLast() {
        if let box = pump.ring { unsafe pump.relay.allowRest(of: box.ring) }
        pump.drain(world)
        keepDeadline()
        noteOverflow()
    }

    private func unbind() -> Bool {
        guard let port else { return false }
        daemon.unregister(port)
        if world.substitution?.closesPort() ?? true { try? daemon.services?.events.close(port) }
        self.port = nil
        world.note("closes port \(port)")
        return true
    }

    private func unmap() -> Bool {
        if pump.ring?.access.frame.holdsLostBytes ?? false { channel?.isExact = false }
        pump.ring?.access.isLive = false
        pump.ring = nil
        pump.mustNotify = false
        guard let mapping else { return false }
        try? daemon.services?.grants.unmap(mapping)
        self.mapping = nil
        world.note("unmaps grant \(mapping.reference)")
        return true
    }

    // MARK: The endpoint

    /// A client wants to connect; returns whether it was accepted.
    func accept(_ client: Program) -> Bool {
        guard isOpen, pump.pipe == nil || pump.pipe.map({ $0.isHungUp && $0.inward.isEmpty }) ?? true else {
            return false
        }
        let pipe = Pipe(device: id, program: client.id)
        pump.pipe = pipe
        client.pipe = pipe
        pump.look.formUnion([.handOut, .fill])
        world.wake(id)
        return true
    }

    private func closeEndpoint() {
        let waiting = pump.relay.backlog.count
        if waiting > 0 || !(pump.pipe?.inward.isEmpty ?? true) { channel?.isExact = false }
        // What waits for a client goes with the place where it waits.
        channel?.lostFromGuest += UInt64(waiting)
        pump.relay.handedOut(waiting)
        keepDeadline()
        channel?.client?.hangUp()
        pump.pipe = nil
        isOpen = false
        if channel?.backend === self { channel?.backend = nil }
    }

    // MARK: The end

    override func die() {
        if pump.ring?.access.frame.holdsLostBytes ?? false { channel?.isExact = false }
        closeEndpoint()
        pump.ring?.access.isLive = false
        pump.ring = nil
        if let port { try? world.hypervisor.close(port, of: daemon.domain) }
        if let mapping, let page = try? world.hypervisor.unmap(mapping, by: daemon.domain) { world.free(page) }
        port = nil
        mapping = nil
        queue.removeAll()
        world.retire(id)
    }

    override func hash(into hasher: inout Hasher) {
        machine.hash(into: &hasher)
        hasher.combine(queue)
        hasher.combine(isOpen)
        pump.hash(into: &hasher)
    }
}
