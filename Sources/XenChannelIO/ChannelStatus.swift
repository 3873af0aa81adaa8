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
    /// Bytes from outside that the guest has not taken: in the ring, or on the way there.
    public let bytesUntaken: Int
    /// What was counted since the channel was found.
    public let statistics: ChannelStatistics

    /// How often an index of the guest's was found out of range.
    public var ringViolations: UInt64 { statistics.violations }

    /// Whether bytes are lost if it ends now, or some were already.
    var isIncomplete: Bool { bytesUndelivered > 0 || bytesUntaken > 0 || statistics.bytesDropped > 0 }
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
    /// Bytes of the agent's that are not in the ring yet.
    public let bytesUnsent: Int
    /// What was counted since the agent was started.
    public let statistics: ChannelStatistics

    /// How often an index of the backend's was found out of range.
    public var ringViolations: UInt64 { statistics.violations }

    /// Whether bytes are lost if it ends now.
    var isIncomplete: Bool { bytesUndelivered > 0 || bytesUnsent > 0 }
}

/// What one side of a channel counted.
public struct ChannelStatistics: Hashable, Sendable {
    /// Bytes taken from the other side, through the ring.
    public var bytesReceived: UInt64 = 0
    /// Bytes given to the other side, through the ring.
    public var bytesSent: UInt64 = 0
    /// Bytes of the other side's that were dropped, since nobody took them.
    public var bytesDropped: UInt64 = 0
    /// How often that happened, or somebody was disconnected for it.
    public var overflows: UInt64 = 0
    /// Operations that found an index of the other side's out of range.
    public var violations: UInt64 = 0
    /// Events sent to the other side.
    public var eventsSent: UInt64 = 0
    /// Moves of bytes that needed no event of their own.
    public var eventsSpared: UInt64 = 0
    /// How often the ring was joined.
    public var connections: UInt64 = 0

    /// Starts at zero.
    public init() {}

    /// Adds what a user of the rings counted.
    mutating func add(_ relay: RelayStatistics) {
        bytesReceived &+= relay.bytesFromRing
        bytesSent &+= relay.bytesToRing
        bytesDropped &+= relay.bytesDropped
        overflows &+= relay.overflows
        violations &+= relay.violations
    }

    /// Adds what was counted at a ring.
    mutating func add(_ ring: AttachedRing) {
        unsafe eventsSent &+= ring.eventsSent
        unsafe eventsSpared &+= ring.eventsSpared
    }
}
