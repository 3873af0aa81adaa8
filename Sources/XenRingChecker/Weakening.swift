// SPDX-License-Identifier: MIT

/// One ordering of the shipped ring: an access, by what it is for.
public enum OrderingPoint: String, Hashable, Sendable, CaseIterable {
    /// The producer loads the consumer's index.
    case producerLoad
    /// The producer stores its index.
    case producerStore
    /// The consumer loads the producer's index.
    case consumerLoad
    /// The consumer stores its index.
    case consumerStore
    /// The frontend loads the connection byte.
    case connectionLoad
    /// The backend stores the connection byte.
    case connectionStore
    /// The producer's fence before it looks whether its peer sleeps.
    case producerFence
    /// The consumer's fence before it looks for the last time and sleeps.
    case consumerFence
}

/// What a scenario's memory does not do although the ring asks for it; for showing that the ring is right to ask.
public struct Weakening: Hashable, Sendable {
    /// The orderings that are left out: an acquire or release becomes relaxed, a fence nothing.
    public let leftOut: Set<OrderingPoint>

    /// Leaves out these.
    public init(_ leftOut: Set<OrderingPoint> = []) {
        self.leftOut = leftOut
    }

    /// Leaves out nothing: the ring as it ships.
    public static let none = Weakening()
}
