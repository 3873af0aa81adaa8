// SPDX-License-Identifier: MIT

public import XenRing

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

extension RingRelay {
    /// The ring is about to be left: what is in it may wait beyond `limit`, since there is no other place for it.
    public mutating func allowRest(of ring: borrowing ConsoleRing<some RingMemory>) {
        let capacity = ring.input.capacity
        limit = limit > Int.max - capacity ? .max : limit + capacity
    }
}
