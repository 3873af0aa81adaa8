// SPDX-License-Identifier: MIT

/// The peer's index makes no sense: the distance between producer and consumer exceeds the ring.
///
/// Nothing was copied and no index was stored; the opposite ring is not affected, and the operation succeeds
/// again as soon as the peer's index is sane (A31, A32). It says what the *peer* did: count it and go on.
public struct RingViolation: Error, Hashable, Sendable {
    /// The producer index, as kept privately or as read from the page.
    public let producer: RingIndex
    /// The consumer index, as kept privately or as read from the page.
    public let consumer: RingIndex
    /// The ring's length in bytes.
    public let capacity: UInt32

    /// Reports a producer that is not within `capacity` bytes ahead of the consumer.
    @inlinable
    public init(producer: RingIndex, consumer: RingIndex, capacity: UInt32) {
        self.producer = producer
        self.consumer = consumer
        self.capacity = capacity
    }
}

extension RingViolation: CustomStringConvertible {
    /// Names both indices and the ring's length.
    public var description: String {
        "ring indices out of range: producer \(producer.rawValue), consumer \(consumer.rawValue), "
            + "capacity \(capacity)"
    }
}
