// SPDX-License-Identifier: MIT

import XenBus
import XenChannels
import XenExploration
import XenHypervisor
import XenInterface
import XenStore

/// A peer's kernel or daemon: its connection to the store, its threads, and its devices.
///
/// Chance decides between its threads, its events and its bytes, one thing a step, as everywhere in the world. What it does is in its
/// profile; nothing of the handshake machines that ship is in here. Runs with peers are not cut when a state comes up again.
class PeerProcess: Actor {
    private(set) var domain: DomainID
    let population: Population
    var services: Services?
    /// Takes the watch events, one after the other.
    let watcher = PeerThread()
    private(set) var devices: [PeerDevice] = []
    private var ports: [(port: EventChannelPort, device: PeerDevice)] = []
    private var deferred: [(frame: PageFrame, reference: GrantReference)] = []
    private var retries = 0
    private var stepCount = 0
    private var deadline: Duration?

    init(_ id: Int, of domain: DomainID, among population: Population, in world: World) {
        self.domain = domain
        self.population = population
        super.init(id, in: world)
    }

    /// Whether events and bytes are looked at while a thread is in the middle of something: a kernel does, a daemon does not.
    var interrupts: Bool { false }
    var threads: [PeerThread] { [watcher] }
    func begin() {}
    func take(_: StoreWatchEvent) {}
    /// Its threads have nothing to do, and no watch event waits.
    func rested() {}

    final func start(as domain: DomainID? = nil, resuming: Bool = false) {
        if let domain { self.domain = domain }
        services = Services(of: self.domain, in: world, actor: id)
        if !resuming { begin() }
        world.wake(id)
    }

    /// Ends at once; the kernel, or the hypervisor, closes what it held.
    func crash() {
        for device in devices { forget(device) }
        end()
    }

    /// Forgets its connection and what its threads were at.
    final func end() {
        halt()
        devices = []
    }

    /// Stops, and remembers its devices.
    final func halt() {
        for thread in threads { thread.removeAll() }
        ports = []
        deferred = []
        if let services { world.disconnect(services.store.base.id) }
        services = nil
        deadline = nil
        world.retire(id)
    }

    /// A device goes with its process.
    func forget(_: PeerDevice) {}

    // MARK: Steps

    private enum Choice {
        case thread(PeerThread)
        case watch
        case port
        case bytes(PeerDevice)
    }

    private func choices() -> [Choice] {
        guard let services else { return [] }
        if let spinner = devices.first(where: { $0.traffic.isSpinning }) {
            return spinner.traffic.hasWork ? [.bytes(spinner)] : services.hasPort ? [.port] : []
        }
        var choices: [Choice] = threads.filter { $0.call != nil }.map { .thread($0) }
        if watcher.isIdle, services.hasWatchEvent { choices.append(.watch) }
        guard interrupts || choices.isEmpty else { return choices }
        if services.hasPort { choices.append(.port) }
        choices += devices.filter { $0.traffic.hasWork }.map { .bytes($0) }
        return choices
    }

    final override func step() -> Bool {
        if threads.allSatisfy(\.isIdle), services?.hasWatchEvent == false { rested() }
        let choices = choices()
        guard !choices.isEmpty else { return false }
        stepCount += 1
        let number = choices.count == 1 ? 0 : world.chance.choices.choose(below: choices.count)
        switch choices[number] {
        case .thread(let thread): advance(thread)
        case .watch: takeWatch()
        case .port: takePort()
        case .bytes(let device): move(device)
        }
        setTimer()
        return isBusy
    }

    /// Whether `choices()` would find something.
    private var isBusy: Bool {
        guard let services else { return false }
        if let spinner = devices.first(where: { $0.traffic.isSpinning }) {
            return spinner.traffic.hasWork || services.hasPort
        }
        return threads.contains { $0.call != nil } || services.hasWatchEvent || services.hasPort
            || devices.contains { $0.traffic.hasWork }
    }

    /// Does the next thing of a thread.
    final func advance(_ thread: PeerThread) {
        thread.advance { request, transaction in
            let reply = services?.perform(request, in: transaction) ?? .failure(.inputOutput)
            world.note(StoreText.of(request, reply))
            return reply
        }
    }

    final func takeWatch() {
        guard let event = services?.store.nextWatchEvent() else { return world.note("a watch is late") }
        world.note("watch \(event.path)")
        take(event)
    }

    private func takePort() {
        guard let port = services?.events.nextPending() else { return world.note("an event is late") }
        world.note("event of port \(port)")
        ports.first { $0.port == port }?.device.portFired()
    }

    private func move(_ device: PeerDevice) {
        if device.traffic.look.isEmpty {
            device.traffic.mustTell = false
            guard let port = device.port else { return }
            world.note("notifies")
            try? services?.events.notify(port)
        } else {
            device.traffic.step(world)
            if device.traffic.hasLostBytes { device.channel?.isExact = false }
        }
    }

    final override func pipeChanged() {
        for device in devices {
            device.traffic.look.insert(.put)
            guard device.traffic.habits.retriesSink else { continue }
            device.traffic.look.formUnion([.hand, .take])
        }
    }

    // MARK: Time

    private func setTimer() {
        let waits = devices.compactMap { $0.traffic.nextLook }
        let next = waits.map { max($0, world.now + PeerTraffic.pollInterval) }.min()
        let retry = deferred.isEmpty || retries > 100 ? nil : world.now + .seconds(1)
        guard let earliest = [next, retry].compactMap({ $0 }).min() else { return }
        if let deadline, deadline > world.now, deadline <= earliest { return }
        deadline = earliest
        world.timers.start(.init(deadline: earliest, actor: id, purpose: .machine))
    }

    override func timerFired(_ purpose: TimerList.Purpose) {
        deadline = nil
        switch purpose {
        case .restart:
            world.note("starts")
            start()
        case .machine:
            for device in devices { device.traffic.timePassed(world.now) }
            retryDeferred()
            setTimer()
            world.wake(id)
        case .resume, .scan, .poll, .overflow, .reopen:
            break
        }
    }

    // MARK: For the devices

    final func add(_ device: PeerDevice) {
        devices.append(device)
        devices.sort {
            ($0.key.frontend.rawValue, $0.key.device.rawValue) < ($1.key.frontend.rawValue, $1.key.device.rawValue)
        }
    }

    final func remove(_ device: PeerDevice) {
        devices.removeAll { $0 === device }
    }

    final func register(_ device: PeerDevice, at port: EventChannelPort) {
        ports.append((port, device))
    }

    final func unregister(_ port: EventChannelPort) {
        ports.removeAll { $0.port == port }
    }

    /// Ends a grant and frees its page; while it is mapped, that is put off: Linux's deferred list (F5).
    final func release(_ frame: PageFrame, _ reference: GrantReference) {
        guard !endGrant(frame, reference) else { return world.note("ends grant \(reference)") }
        world.note("cannot end grant \(reference) yet")
        deferred.append((frame, reference))
        retries = 0
        setTimer()
    }

    final func retryDeferred() {
        retries += 1
        deferred.removeAll { endGrant($0.frame, $0.reference) }
    }

    private func endGrant(_ frame: PageFrame, _ reference: GrantReference) -> Bool {
        do throws(GrantError) {
            try services?.grants.endAccess(reference)
        } catch {
            return false
        }
        world.free(.init(domain: domain, frame: frame.number))
        return true
    }

    final override func hash(into hasher: inout Hasher) {
        hasher.combine(id)
        hasher.combine(stepCount)
    }
}
