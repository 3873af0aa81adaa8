// SPDX-License-Identifier: MIT

/// One side's ends of a console page: `struct xencons_interface`, the page of consoles and channels.
///
/// Frontend and backend are the same code with the two rings exchanged. `output` goes to the peer, `input` comes
/// from it; each can be used, and can fail, without the other.
@frozen
public struct ConsoleRing<Memory: RingMemory>: ~Copyable {
    /// Which side of the page this is.
    public let role: ConsoleRole
    /// Bytes to the peer.
    public var output: RingProducer<Memory>
    /// Bytes from the peer.
    public var input: RingConsumer<Memory>

    /// Begins on a page of zeros that the peer has not seen yet: what a frontend does before it grants the page (B32).
    @inlinable
    public init(fresh memory: Memory, as role: ConsoleRole) {
        self.role = role
        output = RingProducer(fresh: memory, layout: role.output)
        input = RingConsumer(fresh: memory, layout: role.input)
    }

    /// Joins a page that the peer, or an earlier life of this side, has used: what a backend does.
    ///
    /// Throws `RingViolation` if a pair of indices is out of range.
    @inlinable
    public init(attaching memory: Memory, as role: ConsoleRole) throws(RingViolation) {
        let output = try RingProducer(attaching: memory, layout: role.output)
        let input = try RingConsumer(attaching: memory, layout: role.input)
        self.role = role
        self.output = output
        self.input = input
    }

    /// What the page's `connection` byte says: `.disconnected` for exactly 1, `.connected` for anything else (A9, A11).
    ///
    /// A zeroed page, and a peer that does not know the flag, say connected. Whoever sees `.disconnected` sees as
    /// well what the backend took before it said so: `output` then tells which bytes nobody will read.
    @inlinable
    public var connection: ConsoleConnection {
        let byte = output.memory.loadAcquireByte(at: ConsoleConnection.offset)
        return byte == ConsoleConnection.disconnected.rawValue ? .disconnected : .connected
    }

    /// Writes the `connection` byte; the backend's to write (A10, A13).
    ///
    /// Say `.connected` once the ring is served; `.disconnected` only at an orderly, final detach that was asked
    /// for, never because a client is absent: a frontend throws its output away then. Traps in the frontend.
    @inlinable
    public func setConnection(_ connection: ConsoleConnection) {
        precondition(role == .backend, "the connection byte is the backend's to write")
        output.memory.storeReleaseByte(connection.rawValue, at: ConsoleConnection.offset)
    }
}

extension ConsoleRing: Sendable where Memory: Sendable {}

/// A side of a console page.
@frozen
public enum ConsoleRole: Hashable, Sendable {
    /// The guest: produces `out`, consumes `in`.
    case frontend
    /// The driver domain: produces `in`, consumes `out`.
    case backend

    /// The ring this side produces.
    @inlinable
    public var output: RingLayout {
        switch self {
        case .frontend: .consoleOut
        case .backend: .consoleIn
        }
    }

    /// The ring this side consumes.
    @inlinable
    public var input: RingLayout {
        switch self {
        case .frontend: .consoleIn
        case .backend: .consoleOut
        }
    }
}

/// The values of the `connection` byte: `XENCONSOLE_CONNECTED` and `XENCONSOLE_DISCONNECTED`.
///
/// The numbers look inverted so that a page of zeros, from a backend older than the flag, means connected (A9).
@frozen
public enum ConsoleConnection: UInt8, Sendable {
    /// A backend serves the ring.
    case connected = 0
    /// No backend serves the ring.
    case disconnected = 1

    /// Offset of the byte in the page. No byte behind it is ever touched.
    @inlinable
    public static var offset: Int { 3088 }
}
