// SPDX-License-Identifier: MIT

public import XenInterface

/// How an existing frontend behaves: a row of the table of peers, for whoever must get on with it.
///
/// A row is data. `XenSimulator` runs any of them, with an interpreter that shares nothing with the machines that ship.
public struct FrontendProfile: Hashable, Sendable {
    /// How its devices are found.
    public enum Finding: Hashable, Sendable {
        /// One device, the primary console: page and port are the toolstack's, and there are no states (B1, B3).
        case primaryConsole
        /// In the guest's `device/console`, with a watch on `device` (R8).
        case directory
    }

    /// Which devices it can use.
    public enum Numbering: Hashable, Sendable {
        /// Any.
        case any
        /// The last digit of the number counts; 0 is refused, and a second device of the same digit as well (B14).
        case lastDigit
    }

    /// How it leaves.
    public enum Leaving: Hashable, Sendable {
        /// Straight to 6; page and port are kept as long as the device is there (B15).
        case closes
        /// 5, then 6 when the backend is at 5 or 6; page and port go then (B18).
        case asks
    }

    /// Its name.
    public let name: String
    /// How its devices are found.
    public var finding = Finding.directory
    /// Which devices it can use.
    public var numbering = Numbering.any
    /// What it does first with a device in state 1.
    public var opening: [PeerStep] = []
    /// What it does when `opening` fails.
    public var failure: [PeerStep] = []
    /// Nothing is published before the backend is in this state; nil for no such wait. The backend's state is watched then.
    public var waitsFor: XenbusState?
    /// How it makes and publishes what the backend needs, to the watch on the backend's state.
    public var publication: [PeerStep] = []
    /// What it does when the backend is at 4.
    public var confirmation: [PeerStep] = []
    /// The states of the backend at which it leaves.
    public var leavesAt: Set<XenbusState> = []
    /// How it leaves.
    public var leaving = Leaving.closes
    /// A domain that was restored makes its devices anew (B16, R11).
    public var resumes = false
    /// What it does with the ring.
    public var ring: PeerRingHabits

    /// Names a row.
    public init(_ name: String, ring: PeerRingHabits) {
        self.name = name
        self.ring = ring
    }
}
