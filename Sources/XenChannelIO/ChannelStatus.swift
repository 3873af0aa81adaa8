// SPDX-License-Identifier: MIT

public import XenChannels
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
