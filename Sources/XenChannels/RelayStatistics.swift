// SPDX-License-Identifier: MIT

/// What a relay did, counted since it was made.
public struct RelayStatistics: Hashable, Sendable {
    /// Bytes taken from the ring.
    public var bytesFromRing: UInt64 = 0
    /// Bytes put into the ring.
    public var bytesToRing: UInt64 = 0
    /// Notifications that had a reason: bytes taken or put.
    public var notifications: UInt64 = 0
    /// Operations that found the peer's index out of range (A31).
    public var violations: UInt64 = 0
    /// Bytes of the peer that were dropped, since nobody took them.
    public var bytesDropped: UInt64 = 0
    /// How often that happened, or somebody was disconnected for it.
    public var overflows: UInt64 = 0

    /// Starts at zero.
    public init() {}
}

/// Notices the first overflow of an attachment: that one is told; all are counted. A peer cannot fill a log.
public struct OverflowNotice: Hashable, Sendable {
    /// How many there were before this attachment; nil once one of it was told.
    private var before: UInt64? = 0

    /// Before the first attachment.
    public init() {}

    /// An attachment begins.
    public mutating func begin(after statistics: RelayStatistics) {
        before = statistics.overflows
    }

    /// Whether one has happened that is to be told; says so once.
    public mutating func take(from statistics: RelayStatistics) -> Bool {
        guard let before, statistics.overflows > before else { return false }
        self.before = nil
        return true
    }
}
