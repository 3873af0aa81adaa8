// SPDX-License-Identifier: MIT

public import XenBus
import XenChannels
import XenInterface

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

    /// Channels that were closed while bytes waited on either way, and how many.
    public private(set) var leftovers: [AgentStatus] = []

    private let shell: DeviceShell<GuestDevice>
    private var grantTimer: Reactor.Timer?

    /// How often to try again to end a grant that the backend still maps.
    private static let grantInterval = Duration.milliseconds(100)

    /// Makes the guest's side; `start()` begins.
    public init(of domain: LiveDomain, on reactor: Reactor, agents: @escaping (String?) -> AgentKind) {
        self.domain = domain
        self.reactor = reactor
        self.agents = agents
        let scanner = DeviceScanner(frontend: domain.id, token: DeviceShell<GuestDevice>.scannerToken)
        shell = DeviceShell(of: domain, on: reactor, scanner: scanner)
        shell.onReport = { [unowned self] in onReport($0) }
        shell.make = { [unowned self] key in GuestDevice(key, of: self, in: shell) }
    }

    deinit {
        grantTimer?.cancel()
        shell.die()
    }

    /// Begins to look for devices.
    public func start() {
        shell.start()
    }

    /// Closes all channels through the protocol, then calls `completion`.
    public func close(completion: @escaping () -> Void) {
        shell.close { [domain] in
            domain.retryDeferred()
            completion()
        }
    }

    /// The channels, by number.
    public var channels: [AgentStatus] {
        shell.devices.values.map(\.status).sorted { $0.device.rawValue < $1.device.rawValue }
    }

    // MARK: For the devices

    func deviceChanged(_ device: GuestDevice) {
        onChange(device.status)
    }

    func agentEnds(_ status: AgentStatus) {
        if status.isIncomplete { leftovers.append(status) }
    }

    /// Ends a grant, now or when the backend has unmapped the page: there is no event for that, so that it is tried again.
    func release(_ page: GuestPage) {
        domain.release(page)
        awaitGrants()
    }

    private func awaitGrants() {
        guard domain.deferredCount > 0, grantTimer == nil else { return }
        grantTimer = reactor.after(GuestDaemon.grantInterval) { [unowned self] in
            grantTimer = nil
            domain.retryDeferred()
            awaitGrants()
        }
    }
}
