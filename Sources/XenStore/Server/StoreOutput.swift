// SPDX-License-Identifier: MIT

public import XenInterface

/// A connection to the store: a socket's, a guest's ring, or a client's in the same process. Never used twice.
@frozen
public struct StoreConnectionID: Hashable, Sendable, Comparable {
    /// Counts the connections of a store from 1.
    public let serial: UInt32
    /// Where it stands in the store's list of connections, until it is gone.
    package let slot: UInt32

    init(serial: UInt32, slot: UInt32) {
        self.serial = serial
        self.slot = slot
    }

    /// The order in which the connections were made.
    public static func < (left: StoreConnectionID, right: StoreConnectionID) -> Bool {
        left.serial < right.serial
    }
}

/// What a world learns when a domain is introduced to the store: `XS_INTRODUCE` (D23).
public struct StoreIntroduction: Hashable, Sendable {
    /// The domain.
    public var domain: DomainID
    /// The page of its xenstore ring.
    public var frame: FrameNumber
    /// The domain's end of the event channel.
    public var port: EventChannelPort
    /// The connection that the ring belongs to.
    public var connection: StoreConnectionID
    /// Whether the domain was introduced before: its ring and everything on the connection begins anew.
    public var isRepeated: Bool
}

/// What the store wants done.
@frozen
public enum StoreOutput: Hashable, Sendable {
    /// Send a reply or a watch event.
    case message(StoreMessage, to: StoreConnectionID)
    /// The connection is gone; drop what was queued for it.
    case disconnected(StoreConnectionID)
    /// A domain was introduced: set the indices of its ring to zero and serve it (D23).
    case introduced(StoreIntroduction)
    /// A domain was released: stop serving its ring.
    case released(DomainID)
}

/// Takes what the store wants done, in order.
public protocol StoreOutputSink: ~Copyable {
    /// Takes the next output.
    mutating func append(_ output: StoreOutput)

    /// Takes the next outputs where they are watch events of one connection; without an implementation of its own a sink gets
    /// each as `.message`.
    mutating func append(contentsOf events: Span<StoreEvent>, to connection: StoreConnectionID)
}

extension StoreOutputSink where Self: ~Copyable {
    /// Hands each event to `append(_:)` as a message of the wire.
    public mutating func append(contentsOf events: Span<StoreEvent>, to connection: StoreConnectionID) {
        for index in events.indices { append(.message(events[index].message, to: connection)) }
    }
}

/// What waits to be handed over: the next so many of the store's `events`, or without a connection the next of its `outputs`.
struct Outgoing: Hashable, Sendable {
    var eventCount = 0
    var connection: StoreConnectionID?
}

extension Array: StoreOutputSink where Element == StoreOutput {}
