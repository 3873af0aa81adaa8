// SPDX-License-Identifier: MIT

/// Where one ring of a shared page lies: its data and its two indices, as byte offsets into the page.
///
/// One producer and one consumer serve every layout; a console's frontend and backend are the same code with
/// the two layouts exchanged. The pages of Xen, in bytes (A1, D45):
///
/// ```text
///   console page (struct xencons_interface)     xenstore page (struct xenstore_domain_interface)
///   0    ┌─────────────────────────┐             0    ┌─────────────────────────┐
///        │ in: backend → frontend  │                  │ req: guest → xenstored  │
///   1024 ├─────────────────────────┤             1024 ├─────────────────────────┤
///        │ out: frontend → backend │                  │ rsp: xenstored → guest  │
///        │                         │             2048 ├─────────────────────────┤
///   3072 ├─────────────────────────┤                  │ req_cons     req_prod   │
///        │ in_cons      in_prod    │                  │ rsp_cons     rsp_prod   │
///        │ out_cons     out_prod   │             2064 ├─────────────────────────┤
///   3088 ├─────────────────────────┤                  │ features, connection,   │
///        │ connection (one byte)   │                  │ error, evtchn_port      │
///   3089 ├─────────────────────────┤             2080 ├─────────────────────────┤
///        │ not used, never touched │                  │ not used                │
///   4096 └─────────────────────────┘             4096 └─────────────────────────┘
/// ```
@frozen
public struct RingLayout: Hashable, Sendable {
    /// Offset of the first data byte.
    public let data: Int
    /// Length of the data in bytes: a power of two. A full ring holds exactly this many; no slot is lost (A5).
    public let capacity: UInt32
    /// The bits of an index that say where in the data its byte lies.
    @usableFromInline
    let mask: UInt32
    /// Offset of the consumer index, written by the consumer alone.
    public let consumerIndex: Int
    /// Offset of the producer index, written by the producer alone.
    public let producerIndex: Int

    /// Describes a ring.
    ///
    /// Traps unless `capacity` is a power of two of at most 2^31, no offset is negative, both indices are aligned to four bytes
    /// (A8), and the data and the two indices lie apart from each other.
    @inlinable
    public init(data: Int, capacity: UInt32, consumerIndex: Int, producerIndex: Int) {
        precondition(capacity > 0 && capacity & (capacity &- 1) == 0, "a ring's capacity is a power of two")
        precondition(data >= 0 && consumerIndex >= 0 && producerIndex >= 0, "offsets are not negative")
        precondition(consumerIndex & 3 == 0 && producerIndex & 3 == 0, "ring indices are aligned to four bytes")
        precondition(
            consumerIndex != producerIndex
                && (consumerIndex + 4 <= data || consumerIndex >= data + Int(capacity))
                && (producerIndex + 4 <= data || producerIndex >= data + Int(capacity)),
            "data and indices of a ring lie apart"
        )
        self.data = data
        self.capacity = capacity
        mask = capacity &- 1
        self.consumerIndex = consumerIndex
        self.producerIndex = producerIndex
    }
}

extension RingLayout {
    /// Console bytes towards the guest: `in`, `in_cons`, `in_prod` (A1). The backend produces.
    @inlinable
    public static var consoleIn: RingLayout {
        RingLayout(data: 0, capacity: 1024, consumerIndex: 3072, producerIndex: 3076)
    }

    /// Console bytes from the guest: `out`, `out_cons`, `out_prod` (A1). The frontend produces.
    @inlinable
    public static var consoleOut: RingLayout {
        RingLayout(data: 1024, capacity: 2048, consumerIndex: 3080, producerIndex: 3084)
    }

    /// Xenstore requests: `req`, `req_cons`, `req_prod` (D45). The guest produces.
    @inlinable
    public static var xenstoreRequest: RingLayout {
        RingLayout(data: 0, capacity: 1024, consumerIndex: 2048, producerIndex: 2052)
    }

    /// Xenstore replies and watch events: `rsp`, `rsp_cons`, `rsp_prod` (D45). The store produces.
    @inlinable
    public static var xenstoreResponse: RingLayout {
        RingLayout(data: 1024, capacity: 1024, consumerIndex: 2056, producerIndex: 2060)
    }
}
