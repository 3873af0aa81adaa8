// SPDX-License-Identifier: MIT

import XenBus
import XenChannels
import XenHypervisor
import XenInterface
import XenRing

/// A guest's side of a device, as its profile says.
final class PeerFrontend: PeerDevice {
    /// How far it is.
    private enum Phase: Hashable {
        case opening
        /// Waits for the backend before it publishes.
        case waiting
        case publishing
        case published
        /// Wants to leave, and waits for the backend to follow.
        case asking
        case left
        /// At 1 again, and waits for the backend.
        case returning
    }

    private let profile: FrontendProfile
    private var phase = Phase.opening
    private var page: (frame: PageFrame, reference: GrantReference)?
    private unowned let guest: PeerGuest

    init(_ key: DeviceKey, _ profile: FrontendProfile, in guest: PeerGuest) {
        self.profile = profile
        self.guest = guest
        super.init(
            key,
            at: profile.finding == .primaryConsole
                ? StorePath.domain(key.frontend).appending("console") : PeerGuest.directory.appending(key.device),
            token: "fe:\(key.device)",
            in: guest,
            habits: profile.ring,
            side: .frontend
        )
        channel?.frontend = self
    }

    override var isConnected: Bool {
        profile.finding == .primaryConsole ? isAttached : super.isConnected && observed == .connected
    }
    override var frame: PageFrame? { page?.frame }

    /// Brings up a device that is at 1; within a job of `thread`.
    func probe(on thread: PeerThread) {
        announced = .initialising
        phase = .opening
        PeerScriptRun.run(profile.opening, of: self, on: thread) { outcome in
            guard outcome == .finished else {
                return PeerScriptRun.run(self.profile.failure, of: self, on: thread) { _ in }
            }
            guard self.profile.waitsFor != nil else { return self.publish(on: thread) }
            self.phase = .waiting
            PeerScriptRun.run([.watch(.otherState)], of: self, on: thread) { _ in }
        }
    }

    private func publish(on thread: PeerThread) {
        phase = .publishing
        PeerScriptRun.run(profile.publication, of: self, on: thread) { outcome in
            guard outcome == .finished else { return }
            self.phase = .published
            // The toolstack may have made its record of the channel only now.
            self.channel?.frontend = self
            self.open(to: self.channel?.agent)
        }
    }

    /// The watch on the backend's state fired; within a job of `thread`.
    func backendChanged(on thread: PeerThread) {
        guard other != nil else { return }
        PeerScriptRun.run([.read(.otherState)], of: self, on: thread) { _ in self.react(on: thread) }
    }

    private func react(on thread: PeerThread) {
        switch phase {
        case .opening, .publishing:
            // The kernel's probe has not come to an end; its watch fires once more then.
            break
        case .waiting:
            if observed == profile.waitsFor { publish(on: thread) }
        case .published:
            if let observed, profile.leavesAt.contains(observed) {
                leave(on: thread)
            } else if observed == .connected {
                PeerScriptRun.run(profile.confirmation, of: self, on: thread) { _ in }
            }
        case .asking:
            guard observed == nil || observed == .closing || observed == .closed else { return }
            finishAsking(on: thread)
        case .returning:
            guard observed == .initWait || observed == .initialising else { return }
            PeerScriptRun.run([.unwatch(.otherState)], of: self, on: thread) { _ in self.probe(on: thread) }
        case .left:
            break
        }
    }

    private func leave(on thread: PeerThread) {
        switch profile.leaving {
        case .closes:
            phase = .left
            hangUp(channel?.agent)
            PeerScriptRun.run([.switchState(.closed)], of: self, on: thread) { _ in }
        case .asks:
            phase = .asking
            hangUp(channel?.agent)
            PeerScriptRun.run([.switchState(.closing), .read(.otherState)], of: self, on: thread) { _ in
                self.react(on: thread)
            }
        }
    }

    private func finishAsking(on thread: PeerThread) {
        phase = .left
        PeerScriptRun.run([.unwatch(.otherState), .switchState(.closed)], of: self, on: thread) { _ in
            thread.act { self.freeRing() }
        }
    }

    /// The driver lets go of the device: Linux's `unbind` (R10).
    override func close() {
        guest.main.add {
            guard self.phase == .published else { return }
            guard self.profile.leaving == .closes else { return self.leave(on: self.guest.main) }
            self.phase = .left
            self.hangUp(self.channel?.agent)
            PeerScriptRun.run([.unwatch(.otherState), .switchState(.closed)], of: self, on: self.guest.main) { _ in
                self.guest.main.act { self.freeRing() }
            }
        }
        world.wake(process.id)
    }

    /// Takes up a device that was left: it goes back to 1, and waits for the backend to be ready for it (B16a, B23).
    func reopen() {
        guest.main.add {
            guard self.phase == .left, !self.isAttached else { return }
            self.phase = .returning
            let steps: [PeerStep] = [.switchState(.initialising), .watch(.otherState)]
            PeerScriptRun.run(steps, of: self, on: self.guest.main) { _ in }
        }
        world.wake(process.id)
    }

    // MARK: Ring

    override func makeRing() -> Bool {
        guard let backend = values[.own("backend-id")]?.decimal(UInt16.self).map({ DomainID($0) }) else { return false }
        let frame = world.allocateFrame(of: process.domain)
        do {
            guard
                let reference = try process.services?.grants.grantAccess(
                    to: backend,
                    page: frame.number,
                    readOnly: false
                ),
                let made = try process.services?.events.allocateUnbound(for: backend)
            else { return false }
            page = (frame, reference)
            self.reference = reference
            port = made
            process.register(self, at: made)
            traffic.ring = PeerRing(world.access(to: frame, as: .frontend), traffic.habits)
            world.note("grants page \(frame.number) as \(reference), and allocates port \(made)")
            return true
        } catch {
            world.note("cannot make its ring: \(error)")
            return false
        }
    }

    /// The primary console: page and port are there (B1, B3).
    func adopt(_ frame: PageFrame, _ port: EventChannelPort) {
        page = (frame, .console)
        self.port = port
        process.register(self, at: port)
        traffic.ring = PeerRing(world.access(to: frame, as: .frontend), traffic.habits)
        phase = .published
        open(to: channel?.agent)
    }

    func freeRing() {
        traffic.ring?.access.isLive = false
        traffic.ring = nil
        closePort()
        guard let page, page.reference != .console else { return }
        page.frame.isAbandoned = true
        if page.frame.holdsLostBytes { channel?.isExact = false }
        self.page = nil
        process.release(page.frame, page.reference)
    }

    /// The guest was suspended, and goes on as another domain: nothing of the ring is left, and nothing is given back.
    func loseRing() {
        traffic.ring?.access.isLive = false
        traffic.ring = nil
        page = nil
        port = nil
        reference = nil
    }
}
