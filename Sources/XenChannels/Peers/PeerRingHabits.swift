// SPDX-License-Identifier: MIT

/// What an existing end of a ring does with it: a part of a peer's profile.
public struct PeerRingHabits: Hashable, Sendable {
    /// When the peer is notified of something done (A20, A21).
    public enum Telling: Hashable, Sendable {
        /// Also when nothing was moved.
        case always
        /// When bytes were moved.
        case ifMoved
        /// Never.
        case never
    }

    /// What happens to bytes for which the ring has no room (A26, A27).
    public enum Full: Hashable, Sendable {
        /// The processor spins until there is room, and does nothing else.
        case spins
        /// They are thrown away.
        case drops
        /// They wait for an event.
        case waits
        /// They wait, and the ring is looked at again and again meanwhile (A22).
        case polls
    }

    /// What is done about indices that are further apart than the ring is long (A31).
    public enum Nonsense: Hashable, Sendable {
        /// Nothing is touched, until they make sense again.
        case ignores
        /// The program ends.
        case dies
        /// They are not checked.
        case trusts
    }

    /// How it is told that a ring holds bytes (A5).
    public enum Comparison: Hashable, Sendable {
        /// By the difference of the indices, which wraps.
        case wrapping
        /// By `cons < prod`, which is wrong when only one of them has wrapped.
        case magnitude
    }

    /// What a backend does with bytes that its reader does not take (A27).
    public enum Sink: Hashable, Sendable {
        /// It takes all as long as less waits than the limit, and then none.
        case stops
        /// It takes all, and throws away as much of the middle as is beyond the limit, right before the newest.
        case dropsMiddle
        /// It takes all, and throws away the second half of the limit once five quarters of it wait.
        case dropsHalf
        /// It takes all, and throws away what is beyond the limit.
        case dropsNewest
    }

    /// Whether the peer is told of bytes that were put into its ring.
    public var afterProducing: Telling
    /// Whether the peer is told of bytes that were taken.
    public var afterConsuming: Telling
    /// What happens when the ring is full.
    public var full: Full
    /// What happens when indices make no sense.
    public var nonsense: Nonsense
    /// How bytes are found.
    public var comparison = Comparison.wrapping
    /// The largest piece that is put into the ring at once, in bytes.
    public var piece: Int
    /// What happens to bytes that were taken and that nobody reads.
    public var sink = Sink.stops
    /// How many bytes may wait for a reader where the store says nothing, or says it to somebody else.
    public var limit: Int
    /// What a reader did not take is offered to it again when it can take more; otherwise at the ring's next event (A27).
    public var retriesSink = true
    /// What comes from the peer is served while bytes wait for room in the ring towards it (A27, krata).
    public var servesWhileWaiting = true
    /// How many events are taken in a period of 200 ms; nil for all (A29).
    public var eventsPerPeriod: Int?

    /// The period of `eventsPerPeriod` (A29).
    public static let period = Duration.milliseconds(200)

    /// Describes an end of a ring.
    public init(
        afterProducing: Telling,
        afterConsuming: Telling,
        full: Full,
        nonsense: Nonsense,
        piece: Int,
        limit: Int
    ) {
        self.afterProducing = afterProducing
        self.afterConsuming = afterConsuming
        self.full = full
        self.nonsense = nonsense
        self.piece = piece
        self.limit = limit
    }
}
