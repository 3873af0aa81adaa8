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

    private var grantInterval = GuestDaemon.firstGrantInterval

    /// How long to wait before trying again to end a grant that the backend still maps; twice as long each time, up to the last.
    private static let firstGrantInterval = Duration.milliseconds(50)
    private static let lastGrantInterval = Duration.seconds(2)

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

    /// Takes up the primary console, if the guest was built with one, and begins to look for devices.
    ///
    /// It is a kernel that boots: what an earlier one asked the store for is forgotten, as Linux has it with `XS_RESET_WATCHES`, also when that
    /// one ended without a word (D24).
    public func start() {
        domain.store.reset()
        if domain.primaryConsole != nil { shell.begin(DeviceKey(frontend: domain.id, device: .primaryConsole)) }
        shell.start()
    }

    /// Closes all channels through the protocol, then calls `completion`.
    ///
    /// A channel whose numbers the store does not let the guest take back keeps its page and port. Channels that have not ended after
    /// `patience` are reported, and still in `channels` then.
    public func close(patience: Duration = .seconds(20), completion: @escaping () -> Void) {
        shell.close(patience: patience) { [domain] in
            domain.retryDeferred()
            completion()
        }
    }

    /// The channels, by number.
    public var channels: [AgentStatus] {
        shell.devices.values.map(\.status).sorted { $0.device.rawValue < $1.device.rawValue }
    }

    /// Pages of channels that are over, which the backend still maps: they are not used again until it lets go (F5).
    public var deferredGrants: Int { domain.deferredCount }

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
        grantInterval = GuestDaemon.firstGrantInterval
        awaitGrants()
    }

    private func awaitGrants() {
        guard domain.deferredCount > 0 else { return }
        let timer = grantTimer ?? Reactor.Timer { [unowned self] in retryGrants() }
        grantTimer = timer
        reactor.start(timer, after: grantInterval)
    }

    private func retryGrants() {
        domain.retryDeferred()
        grantInterval = min(grantInterval * 2, GuestDaemon.lastGrantInterval)
        awaitGrants()
    }
}
