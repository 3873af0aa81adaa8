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
    private var ports: PortService?
    private var watcher: OpenWatcher?
    private var onClosed: (() -> Void)?
    private var closeTimer: Reactor.Timer?
    /// Devices that have not ended are waited for no longer.
    private var hasGivenUp = false
    private var isScanning = false
    private var holds = 0

    /// The token of the scanner's watches; those of the devices have a slash in them.
    static var scannerToken: String { "devices" }
    /// How many events to look at before others have their turn: a peer that never stops sending stops nobody.
    private static var eventsAtOnce: Int { 64 }

    /// Makes a shell; `start()` begins.
    init(
        of domain: LiveDomain,
        on reactor: Reactor,
        scanner: DeviceScanner,
        eventBudget: Int = EventRota.standardBudget
    ) {
        self.domain = domain
        self.reactor = reactor
        self.scanner = scanner
        ports = PortService(of: domain, on: reactor, eventBudget: eventBudget) { [unowned self] in serveStore() }
    }

    deinit {
        scanTimer?.cancel()
        closeTimer?.cancel()
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
        ports?.cancel()
        closeTimer?.cancel()
        scanTimer?.cancel()
        for device in devices.values { ports?.retire(device) }
        devices.removeAll()
        onClosed = nil
    }

    /// Takes the watch events that there are, some at once.
    private func serveStore() {
        for _ in 0..<DeviceShell.eventsAtOnce {
            guard let event = domain.store.nextWatchEvent() else { break }
            if event.token == DeviceShell.scannerToken {
                scan(.changed(event.path))
            } else if let key = DeviceShell.key(of: event.token) {
                devices[key]?.handle(.peerChanged)
            }
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
                case .changed(let key, let change): devices[key]?.handle(.ownChanged(change))
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
        ports?.register(device.listener, at: port, of: device.key.frontend)
    }

    /// A port that stays open says nothing to a device any more.
    func unregister(_ port: EventChannelPort) {
        ports?.unregister(port)
    }

    /// Closes a port of a device's.
    func close(_ port: EventChannelPort) {
        unregister(port)
        unsafe try? domain.events.close(port)
    }

    func finished(_ device: Device) {
        devices[device.key] = nil
        ports?.retire(device)
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
