// SPDX-License-Identifier: MIT

import XenChannels
import XenRing

/// One side's ends of a channel's page, while it is connected, with the way to tell the other side.
final class AttachedRing {
    /// Keeps the page while the ends use it.
    private let memory: PageMemory
    @exclusivity(unchecked) var ring: ConsoleRing<SharedPage>
    private let sendEvent: () -> Void
    @exclusivity(unchecked) private var mustNotify = false
    /// Events that were sent to the other side.
    @exclusivity(unchecked) private(set) var eventsSent: UInt64 = 0
    /// Moves of bytes that needed no event of their own, since another was still to be sent.
    @exclusivity(unchecked) private(set) var eventsSpared: UInt64 = 0

    /// The frontend's: a page of zeros that nobody has seen.
    init(fresh memory: PageMemory, notify: @escaping () -> Void) {
        self.memory = memory
        unsafe ring = ConsoleRing(fresh: memory.page, as: .frontend)
        sendEvent = notify
    }

    /// A page that may have been in use for long: the backend's, or that of a guest's primary console. From here on the guest sees a backend
    /// that serves it.
    init(
        attaching memory: PageMemory,
        as role: ConsoleRole = .backend,
        notify: @escaping () -> Void
    ) throws(RingViolation) {
        self.memory = memory
        unsafe ring = try ConsoleRing(attaching: memory.page, as: role)
        sendEvent = notify
        switch role {
        case .backend: unsafe ring.setConnection(.connected)
        case .frontend: break
        }
        // Whoever died between moving bytes and saying so has left the other side asleep: the next one says it. On a page that
        // nobody has used there is nothing to say.
        unsafe mustNotify = unsafe ring.input.index != RingIndex(0) || ring.output.index != RingIndex(0)
    }

    /// Bytes to the other side that it has not taken, as far as its index can be believed.
    var untakenCount: Int {
        guard let free = unsafe try? ring.output.freeCapacity() else { return 0 }
        return unsafe ring.output.capacity - free
    }

    /// Notes that an operation moved bytes; the peer is told once, by `flush()`.
    func note(_ moved: Bool) {
        guard moved else { return }
        if unsafe mustNotify { unsafe eventsSpared &+= 1 }
        unsafe mustNotify = true
    }

    /// Tells the peer if there is anything to tell (A25).
    func flush() {
        guard unsafe mustNotify else { return }
        unsafe mustNotify = false
        unsafe eventsSent &+= 1
        sendEvent()
    }
}
