// SPDX-License-Identifier: MIT

public import XenBus
import XenChannels
import XenHypervisor
public import XenInterface

/// What a guest's end of a channel is doing.
public struct AgentStatus: Hashable, Sendable {
    /// The device's number.
    public let device: DeviceID
    /// The channel's name; nil for a plain console.
    public let name: String?
    /// Whether both sides are connected.
    public let isConnected: Bool
    /// The device of an agent that is a terminal.
    public let tty: String?
    /// Bytes from the backend that the agent has not taken.
    public let bytesUndelivered: Int
    /// How often an index of the backend's was found out of range.
    public let ringViolations: UInt64
}

/// A guest's channels: finds them by name, also when they appear later, and starts the agent that belongs to the name.
///
/// Belongs to the thread that runs its reactor.
public final class GuestDaemon {
    /// The loop it runs in.
    public let reactor: Reactor
    /// The guest.
    public let domain: LiveDomain
    /// Which agent belongs to a channel of that name; nil is a console without a name.
    public let agents: (String?) -> AgentKind
    /// Called with each thing that is wrong with a device.
    public var onReport: (DeviceDiagnostic) -> Void = { _ in }
    /// Called when a channel has become connected, or is no longer.
    public var onChange: (AgentStatus) -> Void = { _ in }

    private var scanner: DeviceScanner
    private var devices: [DeviceID: GuestDevice] = [:]
    private var ports = PortTable<GuestDevice>()
    private var watcher: OpenWatcher?
    private var onClosed: (() -> Void)?
    private var isScanning = false
    /// Programs that were started and have not ended.
    private var programs = 0
    private var grantTimer: Reactor.Timer?

    private static let scannerToken = "devices"
    /// How often to try again to end a grant that the backend still maps.
    private static let grantInterval = Duration.milliseconds(100)

    /// Makes the guest's side; `start()` begins.
    public init(of domain: LiveDomain, on reactor: Reactor, agents: @escaping (String?) -> AgentKind) {
        self.domain = domain
        self.reactor = reactor
        self.agents = agents
        scanner = DeviceScanner(frontend: domain.id, token: GuestDaemon.scannerToken)
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

    /// The channels, by number.
    public var channels: [AgentStatus] {
        devices.values.map(\.status).sorted { $0.device.rawValue < $1.device.rawValue }
    }

    private func work() -> Bool {
        var isBusy = false
        for _ in 0..<BackendDaemon.eventsAtOnce {
            guard let event = domain.store.nextWatchEvent() else { break }
            isBusy = true
            if event.token == GuestDaemon.scannerToken {
                scan(.changed(event.path))
            } else if let device = DevicePaths.device(named: event.token) {
                devices[device]?.handle(.backendChanged)
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
                case .appeared(let key):
                    guard devices[key.device] == nil else { continue }
                    let device = GuestDevice(key, of: self)
                    devices[key.device] = device
                    device.handle(.start)
                case .changed(let key): devices[key.device]?.handle(.ownChanged)
                case .vanished(let key): devices[key.device]?.handle(.removed)
                case .report(let diagnostic): onReport(diagnostic)
                case .finished:
                    isScanning = false
                    checkClosed()
                }
            }
        }
    }

    // MARK: For the devices

    func openWatcher() throws(SystemError) -> OpenWatcher {
        if let watcher { return watcher }
        let made = try OpenWatcher(on: reactor)
        watcher = made
        return made
    }

    func register(_ device: GuestDevice, at port: EventChannelPort) {
        ports[port] = device
    }

    func unregister(_ port: EventChannelPort) {
        ports[port] = nil
    }

    func deviceChanged(_ device: GuestDevice) {
        onChange(device.status)
    }

    func deviceFinished(_ device: GuestDevice) {
        devices[device.key.device] = nil
        scan(.forget(device.key))
        checkClosed()
    }

    func programStarted() {
        programs += 1
    }

    func programEnded() {
        programs -= 1
        checkClosed()
    }

    /// Ends a grant, now or when the backend has unmapped the page: there is no event for that, so that it is tried again.
    func release(_ page: GuestPage) {
        domain.release(page)
        awaitGrants()
    }

    private func awaitGrants() {
        guard domain.deferredCount > 0, grantTimer == nil else { return }
        grantTimer = reactor.after(GuestDaemon.grantInterval) { [weak self] in
            guard let self else { return }
            grantTimer = nil
            domain.retryDeferred()
            awaitGrants()
        }
    }

    private func checkClosed() {
        guard let onClosed, devices.isEmpty, programs == 0, !isScanning else { return }
        domain.retryDeferred()
        self.onClosed = nil
        onClosed()
    }

    /// The device's number is the token of its watch.
    static func token(of device: DeviceID) -> String { device.description }
}
