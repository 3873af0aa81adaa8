// SPDX-License-Identifier: MIT

public import XenInterface

/// Where a console device stands in the store: one directory for each side, and the toolstack's own copy (R1 to R3).
///
/// ```text
/// /local/domain/$FRONTEND/device/console/$DEVID              frontend ($FRONTEND/console for devid 0)
/// /local/domain/$BACKEND/backend/console/$FRONTEND/$DEVID    backend
/// /libxl/$FRONTEND/device/console/$DEVID                     the toolstack's copy, which guests cannot write (B11)
/// ```
public struct DevicePaths: Hashable, Sendable {
    /// The kind of device: the component behind `device` and `backend`.
    public static let kind = "console"

    /// The guest's domain.
    public let frontendDomain: DomainID
    /// The driver domain.
    public let backendDomain: DomainID
    /// The device's number within the guest.
    public let device: DeviceID

    /// Names a device.
    public init(frontend: DomainID, backend: DomainID, device: DeviceID) {
        frontendDomain = frontend
        backendDomain = backend
        self.device = device
    }

    /// The guest's directory.
    public var frontend: StorePath { DevicePaths.frontend(device, of: frontendDomain) }

    /// The driver domain's directory.
    public var backend: StorePath {
        DevicePaths.backends(in: backendDomain).appending(frontendDomain.description).appending(device)
    }

    /// The toolstack's copy.
    public var toolstack: StorePath {
        StorePath.root.appending("libxl/\(frontendDomain)/device/\(DevicePaths.kind)").appending(device)
    }

    /// A guest's directory of a device: it says nothing of who serves the device.
    public static func frontend(_ device: DeviceID, of domain: DomainID) -> StorePath {
        guard device != .primaryConsole else { return .domain(domain).appending(kind) }
        // In one piece: each machine that begins asks for it.
        var text = "/local/domain/"
        text.reserveCapacity(48)
        text.append(domain.description)
        text.append(behindGuest)
        text.append(device.description)
        return StorePath(unchecked: text)
    }

    private static let behindGuest = "/device/\(kind)/"

    /// The directory above a guest's channels.
    public static func frontends(of domain: DomainID) -> StorePath {
        .domain(domain).appending("device/\(kind)")
    }

    /// The directory above all backends of a driver domain: a directory for each guest, in it one for each device.
    public static func backends(in domain: DomainID) -> StorePath {
        .domain(domain).appending("backend/\(kind)")
    }

    /// Reads a device's number as the name of its directory; nil for anything but the decimal number as we write it.
    public static func device(named name: some StringProtocol) -> DeviceID? {
        String(name).withBytes { number($0, UInt32.self) }.map { DeviceID($0) }
    }

    /// Reads a domain's number as the name of a directory; nil for anything that is no domain's number as we write it.
    public static func domain(named name: some StringProtocol) -> DomainID? {
        String(name).withBytes { number($0, UInt16.self) }.flatMap { DomainID($0).isValid ? DomainID($0) : nil }
    }

    static func number<Number: FixedWidthInteger>(_ name: Span<UInt8>, _: Number.Type) -> Number? {
        // "01" would be a second name of device 1.
        name.count > 1 && name[0] == UInt8(ascii: "0") ? nil : Number(digits: name)
    }
}
