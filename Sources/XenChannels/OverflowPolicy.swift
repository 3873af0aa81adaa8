// SPDX-License-Identifier: MIT

/// What becomes of a peer's bytes when as many wait as may, and nobody takes them.
public enum OverflowPolicy: Hashable, Sendable {
    /// They stay in the ring, and the peer waits. When nobody has taken a byte for `deadline`, the relief comes, and stays until somebody does.
    ///
    /// Without a deadline the peer waits for ever: a Linux guest's processor spins meanwhile (A26, R13).
    case block(deadline: Duration?, then: OverflowRelief)
    /// All are taken, and some from the middle of those that wait are dropped: the peer never waits (A27).
    case dropMiddle(MiddleRule)
    /// Who takes none is disconnected, and what waited is dropped: the peer never waits, and the next one begins with what comes then.
    case disconnect

    /// A reader that is slow makes the peer wait and loses nothing; one that takes no byte for 5 seconds, or is not there, loses the middle.
    public static let standard = OverflowPolicy.block(deadline: .seconds(5), then: .dropMiddle(.xenconsoled))
    /// No byte is dropped, whatever it costs the peer (R13).
    public static let blockForever = OverflowPolicy.block(deadline: nil, then: .disconnect)
}

/// What ends a wait that takes too long.
public enum OverflowRelief: Hashable, Sendable {
    /// As `OverflowPolicy.dropMiddle`.
    case dropMiddle(MiddleRule)
    /// As `OverflowPolicy.disconnect`.
    case disconnect
}

/// Which bytes are dropped from the middle: the oldest say how it began, the newest where it is.
public enum MiddleRule: Hashable, Sendable {
    /// Above 5/4 of the limit, the half of the limit that follows its first half: `buffer_append` of xenconsoled with `--overflow-data=discard`
    /// (A27). It counts up to a quarter of the limit that was handed out already; here only what waits counts.
    case xenconsoled
    /// Above the limit, as many bytes as are too many, those right before the newest: `buffer_append` of QEMU (A27).
    case qemu

    /// Which of `count` bytes to drop; nil if that many may wait.
    ///
    /// What is left is never more than may wait, also when a single reading exceeds the limit: xenconsoled's buffer grows without end then, and
    /// QEMU writes in front of its own.
    public func cut(of count: Int, limit: Int) -> Range<Int>? {
        precondition(limit > 0, "room for a byte")
        switch self {
        case .xenconsoled:
            let excess = count - limit - limit / 4
            guard excess > 0 else { return nil }
            let first = limit / 2
            let piece = limit - first
            return first..<min(count, first + (excess + piece - 1) / piece * piece)
        case .qemu:
            let excess = count - limit
            guard excess > 0 else { return nil }
            return max(0, limit - excess)..<(max(0, limit - excess) + excess)
        }
    }
}

/// Where a backend keeps a peer's bytes until somebody takes them.
public enum ChannelDurability: Hashable, Sendable {
    /// In its own memory, up to the limit. What was drained is lost if the backend is killed.
    case backlog
    /// In the ring: bytes are looked at, handed over, and taken then. A backend that is killed loses none; the next one may repeat those that
    /// were being handed over. No more than the ring holds can wait.
    case ring
}

/// How a backend serves a channel's bytes.
public struct ChannelService: Hashable, Sendable {
    /// What becomes of the guest's bytes when nobody takes them.
    public var overflow: OverflowPolicy
    /// Where they are kept until somebody does.
    public var durability: ChannelDurability

    /// Makes a description of a service.
    public init(overflow: OverflowPolicy = .standard, durability: ChannelDurability = .backlog) {
        self.overflow = overflow
        self.durability = durability
    }
}
