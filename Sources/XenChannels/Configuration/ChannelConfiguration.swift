// SPDX-License-Identifier: MIT

public import XenInterface

/// A channel with all that a toolstack needs to make it: a device number, a name that is there, a backend that is known.
public struct ChannelConfiguration: Hashable, Sendable {
    /// The device's number, 1 or more.
    public let device: DeviceID
    /// What the guest finds the channel by.
    public let name: String
    /// How the host reaches it.
    public let connection: ChannelConnection
    /// The domain that serves it.
    public let backend: DomainID

    /// Checks a specification as libxl does before it makes the device (C2, R20). Traps for device 0, the primary console.
    ///
    /// `domainNamed` finds a backend that is given by name; numbers are taken as they are.
    public init(
        _ specification: ChannelSpecification,
        device: DeviceID,
        domainNamed: (String) -> DomainID? = { _ in nil }
    ) throws(ChannelConfigurationError) {
        precondition(device != .primaryConsole, "device 0 is the primary console, not a channel")
        guard let name = specification.name, !name.isEmpty else { throw .noName(device) }
        if case .socket(let path) = specification.connection, path.isEmpty { throw .noPath(device) }
        self.device = device
        self.name = name
        connection = specification.connection
        guard let qualifier = specification.backend else {
            backend = .dom0
            return
        }
        guard let domain = ChannelConfiguration.domain(qualifier) ?? domainNamed(qualifier), domain.isValid else {
            throw .unknownBackend(device, qualifier)
        }
        backend = domain
    }

    /// The channels of a guest, in the order of its configuration: the first one gets device 1 (C4).
    ///
    /// xl 4.17 numbers from 0 and so loses the first channel of every list (R18); 4.21 counts as this does.
    public static func list(
        _ specifications: [ChannelSpecification],
        domainNamed: (String) -> DomainID? = { _ in nil }
    ) throws(ChannelConfigurationError) -> [ChannelConfiguration] {
        var channels: [ChannelConfiguration] = []
        for (index, specification) in specifications.enumerated() {
            let device = DeviceID(UInt32(index + 1))
            channels.append(try ChannelConfiguration(specification, device: device, domainNamed: domainNamed))
        }
        return channels
    }

    /// Whether Linux can drive the device: it reads the last digit of the number only, so 1 to 9 (B14).
    public var isUsableByLinux: Bool { (1...9).contains(device.rawValue) }

    private static func domain(_ qualifier: String) -> DomainID? {
        StoreValue(qualifier).decimal(UInt16.self).map { DomainID($0) }
    }
}

/// Why a channel cannot be made; the texts are libxl's (C2).
///
/// libxl's third check, for a connection that is not defined, cannot fail here: a `ChannelSpecification` always has one.
public enum ChannelConfigurationError: Error, Hashable, Sendable {
    /// No name.
    case noName(DeviceID)
    /// A socket with no path.
    case noPath(DeviceID)
    /// No such domain.
    case unknownBackend(DeviceID, String)
}

extension ChannelConfigurationError: CustomStringConvertible {
    /// libxl's text; libxl says nothing of its own about an unknown backend.
    public var description: String {
        switch self {
        case .noName(let device): "channel \(device) has no name"
        case .noPath(let device): "channel \(device) has no path"
        case .unknownBackend(let device, let name): "channel \(device) has an unknown backend domain '\(name)'"
        }
    }
}
