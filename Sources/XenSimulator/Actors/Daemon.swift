// SPDX-License-Identifier: MIT

import XenBus
import XenExploration
import XenHypervisor
import XenInterface
import XenStore

/// The process of one domain that serves its channels: takes watch events and ports, finds devices, and gives them their machines.
class Daemon: Actor {
    let domain: DomainID
    /// What the domain offers; nil while the process does not run.
    private(set) final var services: Services?
    private var scanner: DeviceScanner {
        unsafeAddress { unsafe scannerSlot.reading }
        unsafeMutableAddress { unsafe scannerSlot.writing }
    }
    private let scannerSlot: Slot<DeviceScanner>
    private let makeScanner: () -> DeviceScanner
    private var queue: WorkQueue<DeviceScanner.Action> {
        unsafeAddress { unsafe queueSlot.reading }
        unsafeMutableAddress { unsafe queueSlot.writing }
    }
    private let queueSlot = Slot(WorkQueue<DeviceScanner.Action>())
    private(set) final var devices: [DeviceKey: Device] {
        unsafeAddress { unsafe devicesSlot.reading }
        unsafeMutableAddress { unsafe devicesSlot.writing }
    }
    private let devicesSlot = Slot<[DeviceKey: Device]>([:])
    private var ports: [Device?] {
        unsafeAddress { unsafe portsSlot.reading }
        unsafeMutableAddress { unsafe portsSlot.writing }
    }
    private let portsSlot = Slot<[Device?]>([])
    private var deferred: [(frame: PageFrame, reference: GrantReference)] = []
    private var retries = 0
    /// Devices that are opened again a while after they will have ended, and those of them that have.
    private var reopening: [DeviceKey] = []
    private var ended: [DeviceKey] = []
    /// The store refused the watch on the devices: what comes and goes is not seen.
    private var isBlind = false

    static let scannerToken = "devices"

    init(_ id: Int, of domain: DomainID, in world: World, scanner: @escaping () -> DeviceScanner) {
        self.domain = domain
        makeScanner = scanner
        scannerSlot = Slot(scanner())
        super.init(id, in: world)
    }

    /// Makes the actor of a device; nil for one that is not served here.
    func makeDevice(_: DeviceKey, token _: String) -> Device? { nil }
    /// Takes up what is not found in the store.
    func begin() {}
    /// The page and the port of the domain's own primary console.
    var console: (frame: PageFrame, port: EventChannelPort)? { nil }

    /// The devices, in an order that depends on nothing but their names.
    var sortedDevices: [Device] {
        devices.values.sorted {
            ($0.key.frontend.rawValue, $0.key.device.rawValue) < ($1.key.frontend.rawValue, $1.key.device.rawValue)
        }
    }

    final func start() {
        services = Services(of: domain, in: world, actor: id)
        scanner = makeScanner()
        begin()
        scan(.start)
        world.wake(id)
    }

    /// Ends at once, with all its devices; the kernel closes what it held.
    final func crash() {
        for device in sortedDevices { device.die() }
        devices = [:]
        ports = []
        queue.removeAll()
        reopening = []
        ended = []
        if let services { world.disconnect(services.store.base.id) }
        services = nil
        world.retire(id)
    }

    // MARK: Steps

    final override func step() -> Bool {
        guard let services else { return false }
        let waiting = services.waiting()
        let count = (queue.isEmpty ? 0 : 1) + (waiting.watch ? 1 : 0) + (waiting.port ? 1 : 0)
        guard count > 0 else { return false }
        var choice = count == 1 ? 0 : world.chance.choices.choose(below: count)
        if !queue.isEmpty {
            if choice == 0 {
                carryOut()
                return isBusy(services)
            }
            choice -= 1
        }
        if waiting.watch, choice == 0 {
            takeWatch()
        } else {
            takePort()
        }
        return isBusy(services)
    }

    private func isBusy(_ services: Services) -> Bool {
        guard queue.isEmpty else { return true }
        let waiting = services.waiting()
        return waiting.watch || waiting.port
    }

    private func takeWatch() {
        guard let event = services?.store.nextWatchEvent() else { return world.note("a watch is late") }
        world.note("watch \(event.path)")
        if event.token == Daemon.scannerToken {
            scan(.changed(event.path))
        } else {
            device(of: event.token)?.peerChanged()
        }
    }

    private func takePort() {
        guard let port = services?.events.nextPending() else { return world.note("an event is late") }
        let number = Int(port.rawValue)
        guard number < ports.count, let device = ports[number] else { return world.note("event of port \(port)") }
        world.note("event of port \(port)", to: device.id)
        device.portFired(port)
    }

    private func scan(_ event: DeviceScanner.Event) {
        if let substitution = world.substitution {
            for action in substitution.handle(event, by: &scanner) { take(action) }
        } else {
            var actions = ActionList<DeviceScanner.Action>()
            scanner.handle(event, into: &actions)
            while let action = actions.next() { take(action) }
        }
        if !queue.isEmpty { world.wake(id) }
    }

    /// A request is a step of its own; what the devices are told is not, since nobody sees it.
    private func take(_ action: DeviceScanner.Action) {
        if queue.isEmpty, carryOut(action) { return }
        queue.append(action)
    }

    /// A device's directory on this side.
    func directory(of key: DeviceKey) -> StorePath { DevicePaths.frontend(key.device, of: key.frontend) }

    /// Looks whether a device is there whose machine has ended by itself.
    func lookAgain(at key: DeviceKey) {
        // It would be found, and never be missed.
        if !isBlind { scan(.changed(directory(of: key))) }
    }

    /// Closes a device in order, for good.
    final func close(_ key: DeviceKey) {
        reopening.removeAll { $0 == key }
        devices[key]?.close()
    }

    /// Opens a device again a while after it will have ended, whichever side closes it.
    final func openAgain(_ key: DeviceKey) {
        reopening.append(key)
    }

    /// Opens what has ended for a while.
    private func reopen() {
        let keys = ended
        ended = []
        for key in keys { lookAgain(at: key) }
    }

    private func carryOut() {
        while let action = queue.popFirst() {
            guard case .store(let request, let transaction) = action else {
                _ = carryOut(action)
                continue
            }
            let reply = services?.perform(request, in: transaction) ?? .failure(.inputOutput)
            world.note(StoreText.of(request, reply))
            if case .watch = request { isBlind = reply != .done }
            return scan(.reply(reply))
        }
    }

    /// Carries out what is no request; returns false for one.
    private func carryOut(_ action: DeviceScanner.Action) -> Bool {
        switch action {
        case .store: return false
        case .appeared(let key): appeared(key)
        case .changed(let key, let change): devices[key]?.ownChanged(change)
        case .vanished(let key): devices[key]?.vanished()
        case .report(let diagnostic): world.note(diagnostic.description)
        case .startTimer(let duration):
            world.timers.start(.init(deadline: world.now + duration, actor: id, purpose: .scan))
        case .stopTimer: world.timers.stop(id, .scan)
        case .finished: break
        }
        return true
    }

    final func appeared(_ key: DeviceKey) {
        guard devices[key] == nil else { return }
        let token = Daemon.token(key)
        guard let device = makeDevice(key, token: token) else { return }
        world.replace(device)
        devices[key] = device
        device.start()
    }

    private func device(of token: String) -> Device? {
        let key = token.withBytes { bytes -> DeviceKey? in
            var slash = 0
            while slash < bytes.count, bytes[slash] != UInt8(ascii: "/") { slash += 1 }
            guard slash < bytes.count,
                let domain = UInt16(digits: bytes.extracting(first: slash)),
                let device = UInt32(digits: bytes.extracting((slash + 1)...))
            else { return nil }
            return DeviceKey(frontend: DomainID(domain), device: DeviceID(device))
        }
        return key.flatMap { devices[$0] }
    }

    /// The token of a device's watch.
    private static func token(_ key: DeviceKey) -> String {
        key.frontend.description + "/" + key.device.description
    }

    // MARK: For the devices

    final func register(_ device: Device, at port: EventChannelPort) {
        while ports.count <= Int(port.rawValue) { ports.append(nil) }
        ports[Int(port.rawValue)] = device
    }

    final func unregister(_ port: EventChannelPort) {
        if Int(port.rawValue) < ports.count { ports[Int(port.rawValue)] = nil }
    }

    final func finished(_ device: Device) {
        world.retire(device.id)
        devices[device.key] = nil
        scan(.forget(device.key))
        if let index = reopening.firstIndex(of: device.key) {
            reopening.remove(at: index)
            ended.append(device.key)
            world.timers.start(.init(deadline: world.now + .seconds(1), actor: id, purpose: .reopen))
        }
    }

    /// Clears a pending port without looking: what a broken daemon does.
    final func forgetEvents(of port: EventChannelPort) {
        while world.hypervisor.isPending(port, of: domain), let taken = world.hypervisor.nextPending(of: domain) {
            let number = Int(taken.rawValue)
            if taken != port, number < ports.count { ports[number]?.portFired(taken) }
        }
    }

    // MARK: Pages that are still mapped

    /// Ends a grant and frees its page; while the other side maps it, that is put off (F5).
    final func release(_ frame: PageFrame, _ reference: GrantReference) {
        guard !endGrant(frame, reference) else { return world.note("ends grant \(reference)") }
        world.note("cannot end grant \(reference) yet")
        if world.substitution?.freesMappedPage() ?? false {
            world.free(.init(domain: domain, frame: frame.number))
        }
        deferred.append((frame, reference))
        retries = 0
        world.timers.start(.init(deadline: world.now + .seconds(1), actor: id, purpose: .machine))
    }

    /// Ends what could not be ended before.
    final func retryDeferred() {
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

    override func timerFired(_ purpose: TimerList.Purpose) {
        switch purpose {
        case .restart:
            world.note("starts")
            start()
        case .machine:
            retryDeferred()
            retries += 1
            // A backend that never unmaps keeps the page for good; the world would not come to rest otherwise.
            if !deferred.isEmpty, retries < 100 {
                world.timers.start(.init(deadline: world.now + .seconds(1), actor: id, purpose: .machine))
            }
        case .scan:
            scan(.timeout)
        case .reopen:
            reopen()
        case .resume, .poll, .overflow:
            break
        }
    }

    override func hash(into hasher: inout Hasher) {
        hasher.combine(scanner)
        hasher.combine(queue)
        hasher.combine(services == nil)
        hasher.combine(deferred.count)
    }
}
