// SPDX-License-Identifier: MIT

import XenChannels
import XenRing

/// What takes a ring's bytes and gives bytes to it.
protocol RingUser: AnyObject {
    /// What it did so far.
    var statistics: RelayStatistics { get }
    /// Bytes taken from the ring that nobody has taken from here.
    var backlogCount: Int { get }
    /// Bytes taken from outside that are not in the ring yet.
    var inboundCount: Int { get }
    /// Bytes that were in the ring when it was last looked at in order to leave it, or are now, and that the peer has not taken.
    var untakenCount: Int { get }
    /// Called once an attachment, when the peer's index was found out of range; service goes on when it is sane again.
    var onViolation: (RingViolation) -> Void { get set }
    /// Called once an attachment, when the policy dropped bytes or disconnected somebody.
    var onOverflow: () -> Void { get set }

    /// Itself, for those who tell it of each event.
    var listener: RingListener { get }

    /// Begins to serve a ring, and looks at it. `limit` bounds the bytes that wait outside of it.
    func attach(_ ring: AttachedRing, limit: Int)

    /// Stops serving the ring, after taking what was in it.
    func detachRing()

    /// Looks at the ring, since an event arrived; what can wait for the turn's end may.
    func ringChanged()

    /// Looks at everything.
    func run()
}

/// A ring's user, named by its kind, so that each event finds it by a plain call.
///
/// Whoever holds this keeps the user.
enum RingListener {
    case pump(Reference<StreamPump>)
    case loopback(Reference<LoopbackEndpoint>)
    case stream(Reference<ChannelStream>)

    /// See `RingUser.ringChanged()`.
    func ringChanged() {
        switch self {
        case .pump(let pump): pump.use { $0.ringChanged() }
        case .loopback(let loopback): loopback.use { $0.ringChanged() }
        case .stream(let stream): stream.use { $0.ringChanged() }
        }
    }
}

/// Where a channel's bytes leave the ring for: a socket, a terminal, a program, or back.
protocol Endpoint: AnyObject {
    /// Between the ring and the endpoint.
    var user: any RingUser { get }
    /// The device of a terminal.
    var tty: String? { get }

    /// Stops, and removes what was made in the file system.
    func close()
}
