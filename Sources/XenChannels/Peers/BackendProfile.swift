// SPDX-License-Identifier: MIT

public import XenInterface

/// How an existing backend behaves: a row of the table of peers.
public struct BackendProfile: Hashable, Sendable {
    /// What it serves.
    public enum Service: Hashable, Sendable {
        /// The primary console of each domain: no states, and its own directory is not looked at (B5, B6).
        case primaryConsoles
        /// The devices below its `backend/console` (B22).
        case devices
    }

    /// Its name.
    public let name: String
    /// What it serves.
    public let service: Service
    /// What it does with a new directory of its own, up to the watch on the frontend's.
    public var adoption: [PeerStep] = []
    /// What it does then, until it waits for the frontend.
    public var preparation: [PeerStep] = []
    /// The states of the frontend at which it connects; nil if it does not look at the state (R5).
    public var connectsAt: Set<XenbusState>?
    /// What it does to connect.
    public var connection: [PeerStep] = []
    /// What it reads at each event below its own directory, before anything else.
    public var ownEvent: [PeerStep] = []
    /// The nodes of its own directory that it reads again when an event names them.
    public var ownNews: Set<String> = []
    /// The nodes of the frontend that it reads again when an event names them; nil for the state, at any event.
    public var otherNews: Set<String>?
    /// Unmaps and writes 6 when the frontend is at 6, and follows it to 5 (B23, R6).
    public var followsFrontend = false
    /// At 6, a frontend that comes back at 1 is served again, from this state on (B23).
    public var servesAgainFrom: XenbusState?
    /// Devices that an earlier life has left at 4 are taken up again (B25: no stock backend does).
    public var rearms = false
    /// What it does with the ring.
    public var ring: PeerRingHabits

    /// Names a row.
    public init(_ name: String, serves service: Service, ring: PeerRingHabits) {
        self.name = name
        self.service = service
        self.ring = ring
    }
}
