// SPDX-License-Identifier: MIT

import Synchronization
import XenInterface

/// Says that there is something to look at, and wakes the loop that will look; may be raised from any thread.
///
/// Raised in the loop's own thread, as most events between two ends of one process are, it costs no more than two stores.
final class Signal: Sendable {
    private let waker: Waker
    /// Raised in the loop's own thread.
    private let isRaisedWithin = Atomic(true)
    private let isRaisedElsewhere = Atomic(false)
    /// Serves ports in the loop, and is touched in its thread only. Takes itself away before it goes.
    @exclusivity(unchecked) nonisolated(unsafe) var ports: Reference<PortService>?

    /// Makes a signal that is raised: there may have been something before.
    init(waking waker: Waker) {
        self.waker = waker
    }

    /// The way on which an event can be taken to a port at once, which is possible in the loop's thread only. Then there is nothing to raise.
    func way(to port: EventChannelPort, generation: UInt64) -> EventWay? {
        guard waker.isTurnedHere, let ports = unsafe ports else { return nil }
        return ports.use { $0.way(to: port, generation: generation) }
    }

    /// To be called after there is something to look at. Returns a waker that must interrupt the loop's sleep, which is a system call and can
    /// wait until a lock is given back.
    func raise() -> Waker? {
        if waker.isTurnedHere {
            isRaisedWithin.store(true, ordering: .relaxed)
            waker.wakeWithin()
            return nil
        }
        isRaisedElsewhere.store(true, ordering: .releasing)
        return waker.mustInterrupt() ? waker : nil
    }

    /// Lowers the signal, and returns whether it was raised. To be called in the loop's thread, before looking.
    func take() -> Bool {
        if isRaisedElsewhere.load(ordering: .relaxed) {
            // An exchange: it sees all that was done before each of the calls that it takes away.
            _ = isRaisedElsewhere.exchange(false, ordering: .acquiringAndReleasing)
        } else if !isRaisedWithin.load(ordering: .relaxed) {
            return false
        }
        isRaisedWithin.store(false, ordering: .relaxed)
        return true
    }
}
