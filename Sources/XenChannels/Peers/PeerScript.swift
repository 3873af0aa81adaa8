// SPDX-License-Identifier: MIT

public import XenInterface

/// A node as one side of a device names it; the empty name is the directory itself.
public enum PeerNode: Hashable, Sendable {
    /// In the side's own directory.
    case own(String)
    /// In the other side's.
    case other(String)

    /// The own `state`.
    public static let state = PeerNode.own("state")
    /// The other side's `state`.
    public static let otherState = PeerNode.other("state")
}

/// One thing that an existing frontend or backend does on its way, in the order in which it does it.
///
/// A *script* of these is a cell of the table of profiles. It ends in one of three ways: it is done; it *stops* at a step that says so,
/// and is begun again when something has changed; or it *fails*.
public enum PeerStep: Hashable, Sendable {
    /// Opens a transaction. One that meets a conflict is begun here again.
    case begin
    /// Commits it.
    case commit
    /// Lists a directory, only to see that it is there; fails if it is not.
    case exists(PeerNode)
    /// Reads a node, whatever comes of it.
    case read(PeerNode)
    /// Reads a node; stops if it is not there.
    case need(PeerNode)
    /// Reads a node; stops unless it has this value.
    case expect(PeerNode, StoreValue)
    /// Reads a node; stops if it is there with another value.
    case allow(PeerNode, StoreValue)
    /// Writes a node.
    case write(PeerNode, StoreValue)
    /// Writes a node with the value that was read from it.
    case rewrite(PeerNode)
    /// Writes `error/<directory>/error`: what was met, with `%` for the directory (B17).
    case complain(String)
    /// Writes the numbers of the granted page and of the port, as far as the side has made them.
    case writeRing, writePort
    /// Writes the own state as any other node.
    case state(XenbusState)
    /// Writes the own state in a transaction that reads it first, and does nothing if it is gone: `xenbus_switch_state` (B17).
    case switchState(XenbusState)
    /// Registers a watch.
    case watch(PeerNode)
    /// Drops a watch.
    case unwatch(PeerNode)
    /// Asks for the other domain's path.
    case domainPath
    /// Zeroes a page, grants it, and allocates a port.
    case makeRing
    /// Maps the page and binds the port whose numbers were read; fails if that cannot be done, stops if it was done already.
    case attach
    /// Unbinds and unmaps.
    case detach
}
