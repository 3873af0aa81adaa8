// SPDX-License-Identifier: MIT

import XenChannels
import XenRing

/// An agent without a descriptor: gives every byte back, or takes every byte and gives none.
final class LoopbackEndpoint: Endpoint, RingUser {
    private let givesBack: Bool
    @exclusivity(unchecked) private var relay = RingRelay(limit: LoopbackEndpoint.limit)
    private var ring: AttachedRing? {
        didSet { unsafe used = ring.map { Reference($0) } }
    }
    @exclusivity(unchecked) private var used: Reference<AttachedRing>?
    var onViolation: (RingViolation) -> Void = { _ in }
    var onOverflow: () -> Void = {}
    @exclusivity(unchecked) private var watch = ViolationWatch()

    /// How many bytes may be on their way back.
    private static let limit = 4096
    /// How often to look before others have their turn. What comes or goes meanwhile makes the port pending again.
    private static let turnsAtOnce = 16

    init(givesBack: Bool) {
        self.givesBack = givesBack
    }

    var user: any RingUser { self }
    var listener: RingListener { .loopback(Reference(self)) }
    var tty: String? { nil }
    var statistics: RelayStatistics { unsafe relay.statistics }
    var backlogCount: Int { unsafe relay.backlog.count }
    var inboundCount: Int { 0 }
    var untakenCount: Int { 0 }

    func attach(_ ring: AttachedRing, limit: Int) {
        self.ring = ring
        unsafe watch = ViolationWatch()
        run()
    }

    func detachRing() {
        // What is in the ring still is counted as not taken.
        if let ring, givesBack {
            unsafe relay.limit += ring.ring.input.capacity
            ring.note(unsafe relay.drain(&ring.ring))
            ring.flush()
        }
        ring = nil
    }

    func close() {
        ring = nil
    }

    func ringChanged() {
        run()
    }

    func run() {
        unsafe used?.use { ring in
            var turns = 0
            while turns < LoopbackEndpoint.turnsAtOnce, turn(ring) { turns += 1 }
            ring.flush()
        }
        // Last: the owner may do anything now.
        if let violation = unsafe watch.take() { onViolation(violation) }
    }

    /// Takes and gives once; returns whether there may be more to do without another event: what did not fit may now.
    private func turn(_ ring: AttachedRing) -> Bool {
        let hasTaken = unsafe relay.drain(&ring.ring)
        ring.note(hasTaken)
        unsafe watch.look(at: relay)
        guard givesBack else {
            let isBlocked = unsafe relay.isBlocked
            unsafe relay.handedOut(relay.backlog.count)
            return isBlocked
        }
        let hasGiven = unsafe relay.giveBack(to: &ring.ring)
        ring.note(hasGiven)
        unsafe watch.look(at: relay)
        return unsafe hasGiven && relay.isBlocked
    }
}
