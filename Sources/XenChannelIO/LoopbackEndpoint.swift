// SPDX-License-Identifier: MIT

import XenChannels

/// An agent without a descriptor: gives every byte back, or takes every byte and gives none.
final class LoopbackEndpoint: Endpoint, RingUser {
    private let givesBack: Bool
    private var relay = RingRelay(limit: LoopbackEndpoint.limit)
    private var ring: AttachedRing?

    /// How many bytes may be on their way back.
    private static let limit = 4096

    init(givesBack: Bool) {
        self.givesBack = givesBack
    }

    var user: any RingUser { self }
    var tty: String? { nil }
    var statistics: RelayStatistics { relay.statistics }
    var backlogCount: Int { relay.backlog.count }

    func attach(_ ring: AttachedRing, limit: Int) {
        self.ring = ring
        run()
    }

    func detachRing() {
        ring = nil
    }

    func close() {
        ring = nil
    }

    func run() {
        guard let ring else { return }
        var hasMoved = true
        while hasMoved {
            let hasTaken = unsafe relay.drain(&ring.ring)
            ring.note(hasTaken)
            hasMoved = hasTaken
            if givesBack {
                let hasGiven = unsafe relay.giveBack(to: &ring.ring)
                ring.note(hasGiven)
                hasMoved = hasTaken || hasGiven
            } else {
                relay.handedOut(relay.backlog.count)
            }
        }
        ring.flush()
    }
}
