// SPDX-License-Identifier: MIT

import XenBus
import XenChannels
import XenHypervisor
import XenInterface

/// What the two sides of a live world have in common: finds devices, hands them what happens in the store and at their ports, and closes them.
///
/// Belongs to the thread that runs its reactor.
final class DeviceShell<Device: ServedDevice> {
    let reactor: Reactor
    let domain: LiveDomain
    private(set) var devices: [DeviceKey: Device] = [:]
    var onReport: (DeviceDiagnostic) -> Void = { _ in }
    /// Makes the device that was found, if it is to be served.
    var make: (DeviceKey) -> Device? = { _ in nil }
    private var scanner: DeviceScanner
    private var scanTimer: Reactor.Timer?
    // Looked at and changed by single steps, none of which comes back here: checking each would cost a tenth of all that moving bytes costs.
    @exclusivity(unchecked) private var ports = PortTable<Device>()
    private var watcher: OpenWatcher?
    private var work: Reactor.Work?
    private var onClosed: (() -> Void)?
    private var closeTimer: Reactor.Timer?
    /// Devices that have not ended are waited for no longer.
    private var hasGivenUp = false
    private var isScanning = false
    private var holds = 0
    @exclusivity(unchecked) private var rota: EventRota
    /// The loop's turn in which the budgets were filled.
    private var turn: UInt64 = 0

    /// The token of the scanner's watches; those of the devices have a slash in them.
    static var scannerToken: String { "devices" }
    /// How many events and ports to look at before others have their turn: a peer that never stops sending stops nobody.
    private static var eventsAtOnce: Int { 64 }

    /// Makes a shell; `start()` begins.
    init(
        of domain: LiveDomain,
        on reactor: Reactor,
        scanner: DeviceScanner,
        eventBudget: Int = EventRota.standardBudget
    ) {
        unsafe rota = EventRota(budget: eventBudget)
        self.domain = domain
        self.reactor = reactor
        self.scanner = scanner
        domain.wake(reactor.waker)
        domain.beginServing()
        work = reactor.addWork { [unowned self] in look() }
    }

    deinit {
        scanTimer?.cancel()
        closeTimer?.cancel()
        work?.cancel()
        domain.endServing()
    }

    /// Begins to look for devices.
    func start() {
        isScanning = true
        scan(.start)
    }

    /// Makes a device, unless there is one or it is not to be served, and starts it.
    func begin(_ key: DeviceKey) {
        guard devices[key] == nil, let device = make(key) else { return }
        devices[key] = device
        device.handle(.start)
    }

    /// Closes all devices through the protocol, then calls `completion`; those that have not ended after `patience` are reported, and stay.
    func close(patience: Duration, completion: @escaping () -> Void) {
        onClosed = completion
        closeTimer?.cancel()
        closeTimer = reactor.after(patience) { [unowned self] in giveUp(after: patience) }
        scan(.stop)
        for device in devices.values { device.handle(.close) }
        checkClosed()
    }

    private func giveUp(after patience: Duration) {
        for key in devices.keys.sorted(by: {
            ($0.frontend.rawValue, $0.device.rawValue) < ($1.frontend.rawValue, $1.device.rawValue)
        }) {
            let text = "not closed within \(patience): it keeps what it holds"
            onReport(DeviceDiagnostic(DevicePaths.frontend(key.device, of: key.frontend), .service(text)))
        }
        hasGivenUp = true
        checkClosed()
    }

    /// Lets go of everything without a word, as the end of a process does.
    func die() {
        work?.cancel()
        closeTimer?.cancel()
        scanTimer?.cancel()
        devices.removeAll()
        unsafe ports = PortTable()
        onClosed = nil
    }

    /// One turn: watch events, then ports; returns whether there was anything.
    private func look() -> Bool {
        var isBusy = false
        for _ in 0..<DeviceShell.eventsAtOnce {
            guard let event = domain.store.nextWatchEvent() else { break }
            isBusy = true
            if event.token == DeviceShell.scannerToken {
                scan(.changed(event.path))
            } else if let key = DeviceShell.key(of: event.token) {
                devices[key]?.handle(.peerChanged)
            }
        }
        return servePorts() || isBusy
    }

    /// Serves the ports that are ready, as the rota says; returns whether there was any.
    private func servePorts() -> Bool {
        if turn != reactor.turnCount {
            turn = reactor.turnCount
            unsafe rota.refill()
        }
        takePending()
        var hasServed = false
        for _ in 0..<DeviceShell.eventsAtOnce {
            guard let port = unsafe rota.next() else { break }
            hasServed = true
            unsafe ports[port]?.portFired()
        }
        if unsafe !rota.isEmpty { reactor.stayAwake() }
        return hasServed
    }

    /// Takes the ports that are pending, once round: they come by ascending number, and those that were taken may come again at once.
    private func takePending() {
        guard !domain.isShared else { return takeOwnPending() }
        var first: UInt32?
        var last: UInt32 = 0
        var hasTurned = false
        var events = unsafe domain.events
        while let port = events.nextPending() {
            if let device = unsafe ports[port] { _ = unsafe rota.add(port, of: device.key.frontend) }
            hasTurned = hasTurned || first != nil && port.rawValue <= last
            if hasTurned, port.rawValue >= first ?? 0 { return }
            first = first ?? port.rawValue
            last = port.rawValue
        }
    }

    /// Takes those of the own ports that are pending: there are others' in the domain.
    private func takeOwnPending() {
        for number in unsafe 0..<UInt32(ports.count) {
            let port = EventChannelPort(number)
            guard let device = unsafe ports[port], domain.takePending(port) else { continue }
            _ = unsafe rota.add(port, of: device.key.frontend)
        }
    }

    private func scan(_ event: DeviceScanner.Event) {
        var events = [event]
        while !events.isEmpty {
            for action in scanner.handle(events.removeFirst()) {
                switch action {
                case .store(let request, let transaction):
                    events.append(.reply(domain.store.perform(request, in: transaction)))
                case .appeared(let key): begin(key)
                case .changed(let key): devices[key]?.handle(.ownChanged)
                case .vanished(let key): devices[key]?.handle(.vanished)
                case .report(let diagnostic): onReport(diagnostic)
                case .startTimer(let duration):
                    scanTimer = reactor.after(duration) { [unowned self] in scan(.timeout) }
                case .stopTimer: scanTimer?.cancel()
                case .finished:
                    isScanning = false
                    checkClosed()
                }
            }
        }
    }

    private func checkClosed() {
        guard let onClosed, devices.isEmpty || hasGivenUp, holds == 0, !isScanning else { return }
        self.onClosed = nil
        closeTimer?.cancel()
        onClosed()
    }

    // MARK: For the devices

    func openWatcher() throws(SystemError) -> OpenWatcher {
        if let watcher { return watcher }
        let made = try OpenWatcher(on: reactor)
        watcher = made
        return made
    }

    func register(_ device: Device, at port: EventChannelPort) {
        unsafe ports[port] = device
    }

    /// A port that stays open says nothing to a device any more.
    func unregister(_ port: EventChannelPort) {
        unsafe ports[port] = nil
    }

    /// Closes a port of a device's.
    func close(_ port: EventChannelPort) {
        unregister(port)
        unsafe try? domain.events.close(port)
    }

    func finished(_ device: Device) {
        devices[device.key] = nil
        scan(.forget(device.key))
        checkClosed()
    }

    /// Something was begun whose end is to be waited for before the shell is closed.
    func hold() {
        holds += 1
    }

    /// It has ended.
    func release() {
        holds -= 1
        checkClosed()
    }

    // MARK: Tokens

    /// The token of a device's watch.
    static func token(of key: DeviceKey) -> String { "\(key.frontend)/\(key.device)" }

    private static func key(of token: String) -> DeviceKey? {
        let parts = token.split(separator: "/")
        guard parts.count == 2, let domain = DevicePaths.domain(named: parts[0]),
            let device = DevicePaths.device(named: parts[1])
        else { return nil }
        return DeviceKey(frontend: domain, device: device)
    }
}
