// SPDX-License-Identifier: MIT

import XenChannels
import XenRing

/// An agent without a descriptor: gives every byte back, or takes every byte and gives none. It keeps no byte to itself.
final class LoopbackEndpoint: Endpoint, RingUser {
    private let givesBack: Bool
    private var ring: AttachedRing? {
        didSet { unsafe used = ring.map { Reference($0) } }
    }
    @exclusivity(unchecked) private var used: Reference<AttachedRing>?
    @exclusivity(unchecked) private var counts = RelayStatistics()
    /// What was in the ring when it went, and was not given back.
    private(set) var backlogCount = 0
    var onViolation: (RingViolation) -> Void = { _ in }
    var onOverflow: () -> Void = {}
    @exclusivity(unchecked) private var watch = ViolationWatch()

    init(givesBack: Bool) {
        self.givesBack = givesBack
    }

    var user: any RingUser { self }
    var listener: RingListener { .loopback(Reference(self)) }
    var tty: String? { nil }
    var statistics: RelayStatistics { unsafe counts }
    var inboundCount: Int { 0 }
    var untakenCount: Int { 0 }

    func attach(_ ring: AttachedRing, limit: Int) {
        self.ring = ring
        unsafe watch = ViolationWatch()
        run()
    }

    func detachRing() {
        if givesBack, let ring {
            backlogCount += takeAll(ring)
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
            _ = givesBack ? giveBack(ring) : takeAll(ring)
            ring.flush()
        }
        // Last: the owner may do anything now.
        if let violation = unsafe watch.take() { onViolation(violation) }
    }

    // Once: what comes or goes meanwhile makes the port pending again.

    private func giveBack(_ ring: AttachedRing) -> Int {
        do throws(RingViolation) {
            let count = unsafe try ring.ring.echo()
            unsafe counts.bytesToRing &+= UInt64(count)
            return noted(count, in: ring)
        } catch {
            return refused(error)
        }
    }

    private func takeAll(_ ring: AttachedRing) -> Int {
        do throws(RingViolation) {
            let count = unsafe try ring.ring.input.count()
            unsafe ring.ring.input.advance(by: count)
            return noted(count, in: ring)
        } catch {
            return refused(error)
        }
    }

    private func noted(_ count: Int, in ring: AttachedRing) -> Int {
        unsafe counts.bytesFromRing &+= UInt64(count)
        if count > 0 { unsafe counts.notifications &+= 1 }
        ring.note(count > 0)
        return count
    }

    private func refused(_ violation: RingViolation) -> Int {
        unsafe counts.violations &+= 1
        unsafe watch.note(violation)
        return 0
    }
}
