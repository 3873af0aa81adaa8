// SPDX-License-Identifier: MIT

import XenBus
import XenChannels
import XenHypervisor
import XenInterface
import XenRing

/// A backend of one device, as its profile says.
final class PeerBackend: PeerDevice {
    /// How far it is.
    private enum Phase: Hashable {
        case unknown
        /// Found, and not ready for the frontend.
        case adopted
        /// Waits for the frontend.
        case ready
        case connected
        /// At 5 or 6.
        case closing
        case gone
    }

    private let profile: BackendProfile
    private var phase = Phase.unknown
    private var mapping: GrantMapping?

    init(_ key: DeviceKey, _ profile: BackendProfile, in daemon: PeerDaemon) {
        self.profile = profile
        let domain = StorePath.domain(key.frontend)
        super.init(
            key,
            at: profile.service == .primaryConsoles
                ? domain.appending("console") : PeerDaemon.directory.appending("\(key.frontend)/\(key.device)"),
            token: profile.service == .primaryConsoles ? "dom\(key.frontend)" : "fe:\(key.frontend)/\(key.device)",
            in: daemon,
            habits: profile.ring,
            side: .backend
        )
        if profile.service == .primaryConsoles {
            other = domain.appending("console")
            phase = .ready
        }
    }

    private var thread: PeerThread { process.watcher }
    private var isOnline: Bool { values[.own("online")] == "1" }
    override var isConnected: Bool { profile.service == .primaryConsoles ? isAttached : super.isConnected }

    // MARK: The store

    /// Something below the own directory changed; within a job.
    func ownChanged(_ node: String) {
        PeerScriptRun.run(profile.ownEvent, of: self, on: thread) { _ in
            if !self.profile.ownEvent.isEmpty, self.values[.own("")] == nil { return self.vanish() }
            let news: [PeerStep] = self.profile.ownNews.contains(node) ? [.read(.own(node))] : []
            PeerScriptRun.run(news, of: self, on: self.thread) { _ in self.check() }
        }
    }

    /// Something below the frontend's directory changed; within a job.
    func otherChanged(_ node: String) {
        guard phase != .gone else { return }
        guard profile.service == .devices else { return check() }
        var news: [PeerStep] = [.read(.otherState)]
        if let nodes = profile.otherNews {
            guard !node.isEmpty else { return }
            news = nodes.contains(node) ? [.read(.other(node))] : []
        }
        PeerScriptRun.run(news, of: self, on: thread) { _ in self.check() }
    }

    /// Something has changed: does what the states call for.
    func check() {
        if profile.followsFrontend, phase != .unknown, let seen = observed, seen == .closing || seen == .closed {
            return follow(seen)
        }
        advance()
    }

    /// Goes on as far as it gets. How the frontend is, was looked at before: one that has left meanwhile is followed at the next event.
    private func advance() {
        switch phase {
        case .unknown:
            run(adoption, entering: .adopted)
        case .adopted:
            guard isOnline else { return }
            PeerScriptRun.run(profile.preparation, of: self, on: thread) { outcome in
                guard outcome == .finished else { return }
                self.phase = .ready
                self.offer()
                self.advance()
            }
        case .ready:
            connect()
        case .connected:
            if profile.otherNews == nil, isAttached, observed == nil, profile.followsFrontend { followAway() }
        case .closing:
            serveAgain()
        case .gone:
            break
        }
    }

    private var adoption: [PeerStep] {
        guard profile.rearms else { return profile.adoption }
        return profile.adoption.filter { $0 != .expect(.state, "1") }
    }

    private func run(_ steps: [PeerStep], entering phase: Phase) {
        PeerScriptRun.run(steps, of: self, on: thread) { outcome in
            guard outcome == .finished else { return }
            self.phase = phase
            self.advance()
        }
    }

    private func connect() {
        if let states = profile.connectsAt {
            guard let seen = observed, states.contains(seen) else { return }
        }
        PeerScriptRun.run(profile.connection, of: self, on: thread) { outcome in
            switch outcome {
            case .finished:
                if self.profile.service == .devices { self.phase = .connected } else { self.offer() }
                self.traffic.look = .all
            case .stopped:
                break
            case .failed:
                guard self.profile.service == .devices else { return }
                self.phase = .closing
                PeerScriptRun.run([.state(.closing)], of: self, on: self.thread) { _ in }
            }
        }
    }

    /// The frontend leaves: to 5 with it, and to 6 without the ring (B23, R6).
    private func follow(_ seen: XenbusState) {
        phase = .closing
        guard announced != seen else { return }
        let steps: [PeerStep] = (seen == .closed && isAttached ? [.detach] : []) + [.state(seen)]
        PeerScriptRun.run(steps, of: self, on: thread) { _ in }
    }

    /// The frontend's directory is gone (B27), and the own one perhaps as well.
    private func followAway() {
        PeerScriptRun.run(profile.ownEvent, of: self, on: thread) { _ in
            if self.values[.own("")] == nil { self.vanish() } else { self.follow(.closed) }
        }
    }

    /// The frontend may have come back (B23).
    private func serveAgain() {
        guard announced == .closed, observed == .initialising, isOnline, let state = profile.servesAgainFrom else {
            return
        }
        run([.state(state)], entering: state == .initWait ? .ready : .adopted)
    }

    /// The own directory is gone.
    func vanish() {
        guard phase != .gone else { return }
        phase = .gone
        let steps: [PeerStep] = (other == nil ? [] : [.unwatch(.other(""))]) + (isAttached ? [.detach] : [])
        PeerScriptRun.run(steps, of: self, on: thread) { _ in self.retire() }
    }

    private func retire() {
        hangUp(channel?.client)
        if channel?.backend === self { channel?.backend = nil }
        process.remove(self)
    }

    // MARK: The client

    /// Clients can connect from now on.
    private func offer() {
        channel?.backend = self
        if let client = channel?.client { world.wake(client.id) }
    }

    override func accept(_ client: Program) -> Bool {
        let isFree = traffic.pipe.map { $0.isHungUp && $0.inward.isEmpty } ?? true
        guard phase != .unknown, phase != .adopted, phase != .gone, isFree else { return false }
        let pipe = Pipe(device: process.id, program: client.id)
        traffic.pipe = pipe
        client.pipe = pipe
        traffic.look.insert(.put)
        // R15: what was taken before reaches the next client, at the guest's next event.
        if profile.ring.retriesSink { traffic.look.insert(.hand) }
        world.wake(process.id)
        return true
    }

    // MARK: The ring

    override func attach() -> Bool {
        let ring =
            profile.service == .primaryConsoles
            ? GrantReference.console
            : values[.other("ring-ref")]?.decimal(UInt32.self).map { GrantReference($0) }
        guard let ring, let number = values[.other("port")]?.decimal(UInt32.self) else { return false }
        do {
            guard let mapping = try process.services?.grants.map(ring, of: key.frontend, readOnly: false),
                let frame = world.frame(mapping.frame, of: mapping.owner)
            else { return false }
            self.mapping = mapping
            let access = world.access(to: frame, as: .backend)
            guard
                let bound = try process.services?.events.bindInterdomain(
                    key.frontend,
                    port: EventChannelPort(number)
                )
            else { return false }
            port = bound
            process.register(self, at: bound)
            traffic.ring = PeerRing(access, traffic.habits)
            world.note("maps grant \(ring), and binds port \(bound) to \(number)")
        } catch {
            world.note("cannot attach: \(error)")
            unmap()
            return false
        }
        return true
    }

    override func learn(_ node: PeerNode, _ value: StoreValue?) {
        super.learn(node, value)
        if node == .other("limit") { traffic.limit = value?.decimal(Int.self) ?? traffic.habits.limit }
    }

    override func detach() {
        if frame?.holdsLostBytes ?? false { channel?.isExact = false }
        closePort()
        traffic.ring?.access.isLive = false
        traffic.ring = nil
        unmap()
        world.note("unbinds and unmaps")
    }

    private func unmap() {
        guard let mapping else { return }
        try? process.services?.grants.unmap(mapping)
        self.mapping = nil
    }

    /// The process ends: the kernel closes the port and unmaps (B7).
    func die() {
        if frame?.holdsLostBytes ?? false { channel?.isExact = false }
        hangUp(channel?.client)
        if channel?.backend === self { channel?.backend = nil }
        traffic.ring?.access.isLive = false
        traffic.ring = nil
        if let port { try? world.hypervisor.close(port, of: process.domain) }
        if let mapping, let page = try? world.hypervisor.unmap(mapping, by: process.domain) { world.free(page) }
        port = nil
        mapping = nil
    }
}
