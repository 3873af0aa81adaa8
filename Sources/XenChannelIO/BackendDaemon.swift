// SPDX-License-Identifier: MIT

public import XenBus
public import XenChannels
import XenHypervisor
public import XenInterface

/// What a channel is doing, for people and programs that look.
public struct ChannelStatus: Hashable, Sendable {
    /// The guest.
    public let frontend: DomainID
    /// The device's number within the guest.
    public let device: DeviceID
    /// The channel's name; nil for a plain console.
    public let name: String?
    /// How the host reaches it.
    public let connection: ChannelConnection
    /// The device of a pty.
    public let tty: String?
    /// Whether both sides are connected.
    public let isConnected: Bool
    /// Bytes of the guest that nobody outside has taken.
    public let bytesUndelivered: Int
    /// How often an index of the guest's was found out of range.
    public let ringViolations: UInt64
}

/// A driver domain's channels: finds their directories, and serves each at its socket or terminal.
///
/// Belongs to the thread that runs its reactor.
public final class BackendDaemon {
    /// The loop it runs in.
    public let reactor: Reactor
    /// The domain it runs in.
    public let domain: LiveDomain
    /// Called with each thing that is wrong with a device.
    public var onReport: (DeviceDiagnostic) -> Void = { _ in }
    /// Called when a channel has become connected, or is no longer.
    public var onChange: (ChannelStatus) -> Void = { _ in }

    /// Channels that were closed while bytes of the guest waited for somebody to take them, and how many.
    public private(set) var leftovers: [ChannelStatus] = []

    private var scanner: DeviceScanner
    private var devices: [DeviceKey: BackendDevice] = [:]
    private var ports = PortTable<BackendDevice>()
    private var watcher: OpenWatcher?
    private var onClosed: (() -> Void)?
    private var isScanning = false

    private static let scannerToken = "backend"
    /// How many events and ports to look at before others have their turn: a guest that never stops sending stops nobody.
    static let eventsAtOnce = 64

    /// Makes the backend of a domain; `start()` begins.
    public init(of domain: LiveDomain, on reactor: Reactor) {
        self.domain = domain
        self.reactor = reactor
        scanner = DeviceScanner(backend: domain.id, token: BackendDaemon.scannerToken)
        domain.wake(reactor.waker)
        reactor.addWork { [weak self] in self?.work() ?? false }
    }

    /// Begins to look for devices.
    public func start() {
        isScanning = true
        scan(.start)
    }

    /// Closes all channels through the protocol, then calls `completion`.
    public func close(completion: @escaping () -> Void) {
        onClosed = completion
        scan(.stop)
        for device in devices.values { device.handle(.close) }
        checkClosed()
    }

    /// The channels, by guest and number.
    public var channels: [ChannelStatus] {
        devices.values.map(\.status).sorted {
            ($0.frontend.rawValue, $0.device.rawValue) < ($1.frontend.rawValue, $1.device.rawValue)
        }
    }

    /// One turn: watch events, then ports; returns whether there was anything.
    private func work() -> Bool {
        var isBusy = false
        for _ in 0..<BackendDaemon.eventsAtOnce {
            guard let event = domain.store.nextWatchEvent() else { break }
            isBusy = true
            if event.token == BackendDaemon.scannerToken {
                scan(.changed(event.path))
            } else if let key = BackendDaemon.key(of: event.token) {
                devices[key]?.handle(.frontendChanged)
            }
        }
        for _ in 0..<BackendDaemon.eventsAtOnce {
            guard let port = unsafe domain.events.nextPending() else { break }
            isBusy = true
            ports[port]?.portFired()
        }
        return isBusy
    }

    private func scan(_ event: DeviceScanner.Event) {
        var events = [event]
        while !events.isEmpty {
            for action in scanner.handle(events.removeFirst()) {
                switch action {
                case .store(let request, let transaction):
                    events.append(.reply(domain.store.perform(request, in: transaction)))
                case .appeared(let key): appeared(key)
                case .changed(let key), .vanished(let key): devices[key]?.handle(.ownChanged)
                case .report(let diagnostic): onReport(diagnostic)
                case .finished:
                    isScanning = false
                    checkClosed()
                }
            }
        }
    }

    private func appeared(_ key: DeviceKey) {
        // The primary console has no xenbus states; xenconsoled serves it (B6).
        guard key.device != .primaryConsole, devices[key] == nil else { return }
        let device = BackendDevice(key, of: self)
        devices[key] = device
        device.handle(.start)
    }

    // MARK: For the devices

    func openWatcher() throws(SystemError) -> OpenWatcher {
        if let watcher { return watcher }
        let made = try OpenWatcher(on: reactor)
        watcher = made
        return made
    }

    func register(_ device: BackendDevice, at port: EventChannelPort) {
        ports[port] = device
    }

    func unregister(_ port: EventChannelPort) {
        ports[port] = nil
    }

    func deviceChanged(_ device: BackendDevice) {
        onChange(device.status)
    }

    func deviceCloses(_ status: ChannelStatus) {
        if status.bytesUndelivered > 0 { leftovers.append(status) }
    }

    func deviceFinished(_ device: BackendDevice) {
        devices[device.key] = nil
        scan(.forget(device.key))
        checkClosed()
    }

    private func checkClosed() {
        guard let onClosed, devices.isEmpty, !isScanning else { return }
        self.onClosed = nil
        onClosed()
    }

    // MARK: Tokens

    static func token(of key: DeviceKey) -> String { "frontend/\(key.frontend)/\(key.device)" }

    private static func key(of token: String) -> DeviceKey? {
        let parts = token.split(separator: "/")
        guard parts.count == 3, let domain = DevicePaths.domain(named: parts[1]),
            let device = DevicePaths.device(named: parts[2])
        else { return nil }
        return DeviceKey(frontend: domain, device: device)
    }
}
