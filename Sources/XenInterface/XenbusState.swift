// SPDX-License-Identifier: MIT

/// How far one side of a split device is: `enum xenbus_state`, decimal in the node `state` (B13).
///
/// Not `Comparable`, on purpose: Closing (5) is not more than Connected (4) in any useful sense.
@frozen
public enum XenbusState: UInt8, Hashable, Sendable, CaseIterable {
    /// `XenbusStateUnknown`.
    case unknown = 0
    /// `XenbusStateInitialising`: the toolstack made the device.
    case initialising = 1
    /// `XenbusStateInitWait`: the backend waits for the frontend's details.
    case initWait = 2
    /// `XenbusStateInitialised`: the frontend has published its details.
    case initialised = 3
    /// `XenbusStateConnected`.
    case connected = 4
    /// `XenbusStateClosing`.
    case closing = 5
    /// `XenbusStateClosed`.
    case closed = 6
    /// `XenbusStateReconfiguring`.
    case reconfiguring = 7
    /// `XenbusStateReconfigured`.
    case reconfigured = 8

    /// Reads a `state` node: strictly decimal and a known number, otherwise nil.
    public init?(storeValue: StoreValue) {
        // Mostly it is one digit.
        if case .short(let byte, _, _, count: 1) = storeValue.storage {
            self.init(rawValue: UInt8(truncatingIfNeeded: byte) &- 0x30)
            return
        }
        guard let number = storeValue.decimal(UInt8.self) else { return nil }
        self.init(rawValue: number)
    }

    /// The node's text.
    public var storeValue: StoreValue { StoreValue(byte: 0x30 + rawValue) }
}
