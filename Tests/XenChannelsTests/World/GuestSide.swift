// SPDX-License-Identifier: MIT

import XenBus
import XenChannels
import XenInterface

/// What the two sides have in common, as a `WorldKey` sees them.
protocol WorldSide {
    var client: StoreClient { get set }
    var reports: [DeviceDiagnostic] { get set }
}

/// A guest's kernel: its scanner, the one channel it has, and what it made for it.
struct GuestSide: Hashable, WorldSide {
    var client: StoreClient
    var scanner: DeviceScanner
    var scannerRequest: StoreRequest?
    var machine: ChannelFrontend?
    var request: PendingRequest?
    /// What the machine asked for and was not done yet.
    var tasks: [ChannelFrontend.Action] = []
    var hasTimer = false
    var isConnected = false
    var grant: GrantReference?
    var port: EventChannelPort?
    /// Whether the agent was ended: by its own wish, the channel is closed.
    var wasClosed = false
    var reports: [DeviceDiagnostic] = []

    init(_ client: StoreClient, domain: DomainID) {
        self.client = client
        scanner = DeviceScanner(frontend: domain, token: "scan")
    }

    var isStuckOnNothing: Bool { request == nil && tasks.isEmpty && scannerRequest == nil && client.inbox.isEmpty }
}

/// A driver domain's daemon: its scanner, the one channel it serves, and what it opened for it.
struct DaemonSide: Hashable, WorldSide {
    var client: StoreClient
    var scanner: DeviceScanner
    var scannerRequest: StoreRequest?
    var machine: ChannelBackend?
    var request: PendingRequest?
    var tasks: [ChannelBackend.Action] = []
    var hasTimer = false
    var isOpen = false
    var attachment: ChannelAttachment?
    var port: EventChannelPort?
    var isStopping = false
    var isScanning = true
    var reports: [DeviceDiagnostic] = []

    init(_ client: StoreClient) {
        self.client = client
        scanner = DeviceScanner(backend: .dom0, token: "scan")
    }

    var isStuckOnNothing: Bool { request == nil && tasks.isEmpty && scannerRequest == nil && client.inbox.isEmpty }
}
