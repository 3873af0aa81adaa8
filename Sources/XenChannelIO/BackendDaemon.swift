// SPDX-License-Identifier: MIT

public import XenBus
public import XenChannels
import XenInterface

/// A driver domain's channels: finds their directories, and serves each at its socket or terminal.
///
/// If it is told to, it serves the guests' primary consoles as well, each at a terminal, in the place of xenconsoled (B5, B6).
///
/// Belongs to the thread that runs its reactor. One that goes without having been closed lets go of its pages and ports without a word, as a
/// process that is killed does; the next one takes over where the rings are.
public final class BackendDaemon {
    /// The loop it runs in.
    public let reactor: Reactor
    /// The domain it runs in.
    public let domain: LiveDomain
    /// Called with each thing that is wrong with a device.
    public var onReport: (DeviceDiagnostic) -> Void = { _ in }
    /// Called when a channel has become connected, or is no longer.
    public var onChange: (ChannelStatus) -> Void = { _ in }

    /// How a channel of that name is served; nil is a console without a name. Asked when the channel is opened.
    public let service: (String?) -> ChannelService

    /// What this program does itself with a channel of that name, in place of a socket or terminal. Asked when the channel is opened.
    ///
    /// `service` holds for it as for a client: a handler that does not read freezes no guest, unless that is asked for.
    public var handlers: (String?) -> ChannelHandler? = { _ in nil }

    /// Channels that were closed while bytes waited on either way, or of which some had been dropped: how many, in which direction.
    public private(set) var leftovers: [ChannelStatus] = []

    private let shell: DeviceShell<BackendDevice>

    /// Makes the backend of a domain; `start()` begins.
    ///
    /// `eventBudget` is how many events of a guest are served in a turn of the loop, for each of its channels; four times as many
    /// go before when no others wait. It bounds how long others wait, and nothing else: xenconsoled's 30 events of a console in 200 ms, with the port masked for the rest (A29), hold a guest to some
    /// 300 KiB a second even when nobody else wants anything. Traps unless it is positive.
    /// `servesPrimaryConsoles` is for a host without a xenconsoled: two daemons must not bind the same console. A console whose node `type` is
    /// not `xenconsoled` is left alone in any case.
    public init(
        of domain: LiveDomain,
        on reactor: Reactor,
        eventBudget: Int = EventRota.standardBudget,
        servesPrimaryConsoles: Bool = false,
        service: @escaping (String?) -> ChannelService = { _ in ChannelService() }
    ) {
        self.domain = domain
        self.reactor = reactor
        self.service = service
        let scanner = DeviceScanner(backend: domain.id, token: DeviceShell<BackendDevice>.scannerToken)
        shell = DeviceShell(of: domain, on: reactor, scanner: scanner, eventBudget: eventBudget)
        shell.onReport = { [unowned self] in onReport($0) }
        shell.make = { [unowned self] key in
            let isServed = servesPrimaryConsoles || key.device != .primaryConsole
            return isServed ? BackendDevice(key, of: self, in: shell) : nil
        }
    }

    deinit {
        shell.die()
    }

    /// Begins to look for devices.
    public func start() {
        shell.start()
    }

    /// Closes all channels through the protocol, then calls `completion`; channels that have not ended after `patience` are reported, and
    /// still in `channels` then.
    public func close(patience: Duration = .seconds(20), completion: @escaping () -> Void) {
        shell.close(patience: patience, completion: completion)
    }

    /// The channels, by guest and number.
    public var channels: [ChannelStatus] {
        shell.devices.values.map(\.status).sorted {
            ($0.frontend.rawValue, $0.device.rawValue) < ($1.frontend.rawValue, $1.device.rawValue)
        }
    }

    // MARK: For the devices

    func deviceChanged(_ device: BackendDevice) {
        onChange(device.status)
    }

    func deviceCloses(_ status: ChannelStatus) {
        if status.isIncomplete { leftovers.append(status) }
    }
}
