// SPDX-License-Identifier: MIT

public import XenBus
public import XenInterface

extension ChannelConfiguration {
    /// The requests by which libxl makes the channel's device in a guest, in its order; all in one transaction, run again on `EAGAIN` (B12, R4).
    ///
    /// What the guest may write is its own directory, `state`, `protocol` and `backend-id`; everything that steers the host stays the
    /// backend's (R1, XSA-57). `type` is the node of that name: `ioemu` for QEMU, any other word keeps the stock daemons away (R25).
    public func creation(in domain: DomainID, type: String = "ioemu") -> [StoreStep] {
        let nodes = ConsoleDeviceNodes(domain: domain, device: device, backendDomain: backend)
        let guest = nodes.guestOwned
        let host = nodes.backendOwned
        let name = StoreValue(name)
        let frontend =
            nodes.key("backend-id", StoreValue(decimal: backend.rawValue), guest)
            + nodes.key("state", XenbusState.initialising.storeValue, guest)
            + nodes.key("protocol", ConsoleDeviceNodes.protocolName, guest)
            + nodes.key("name", name, host)
            + nodes.key("limit", ConsoleDeviceNodes.limit, host)
            + nodes.key("type", StoreValue(type), host)
            + nodes.key("output", StoreValue(output), host)
            + nodes.key("tty", "", host)
        var keys = nodes.commonBackendKeys
        keys += [("name", name), ("connection", StoreValue(connection.kind))]
        if case .socket(let path) = connection { keys.append(("path", StoreValue(path))) }
        return nodes.creation(frontend: frontend, backend: keys)
    }
}

/// A guest's primary console, device 0: its port and page are made by the toolstack, and it has no xenbus states (B1 to B4).
public struct PrimaryConsole: Hashable, Sendable {
    /// The guest's port, which `backend` may bind to (B3).
    public var port: EventChannelPort
    /// The page in the guest's memory: a frame number, not a grant reference (B4). The page is granted as `GrantReference.console` as well (B2).
    public var frame: FrameNumber
    /// The domain that serves it.
    public var backend: DomainID
    /// The node `type`: `xenconsoled` or `ioemu`.
    public var type: String

    /// Describes a primary console.
    public init(
        port: EventChannelPort,
        frame: FrameNumber,
        backend: DomainID = .dom0,
        type: String = "xenconsoled"
    ) {
        self.port = port
        self.frame = frame
        self.backend = backend
        self.type = type
    }

    /// The requests by which libxl makes the console's nodes, in its order; all in one transaction. libxl makes them after the channels' (R4).
    public func creation(in domain: DomainID) -> [StoreStep] {
        let nodes = ConsoleDeviceNodes(domain: domain, device: .primaryConsole, backendDomain: backend)
        let host = nodes.backendOwned
        let frontend =
            nodes.key("backend-id", StoreValue(decimal: backend.rawValue), nodes.guestOwned)
            + nodes.key("limit", ConsoleDeviceNodes.limit, host)
            + nodes.key("type", StoreValue(type), host)
            + nodes.key("output", "pty", host)
            + nodes.key("tty", "", host)
            + nodes.key("port", StoreValue(decimal: port.rawValue), host)
            + nodes.key("ring-ref", StoreValue(decimal: frame.rawValue), host)
        return nodes.creation(frontend: frontend, backend: nodes.commonBackendKeys)
    }
}
