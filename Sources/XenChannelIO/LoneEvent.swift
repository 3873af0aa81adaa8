// SPDX-License-Identifier: MIT

import XenInterface

/// The event of a loop that waits alone, as it mostly does: the two ends of a stream hand it to each other, and it needs no turn among others.
///
/// All that happens between two pieces of a stream in one thread happens here, so that nothing is allocated, counted or locked.
final class LoneEvent {
    /// The loop's.
    let waker: Waker
    @exclusivity(unchecked) private var listener: Reference<PortListener>?
    /// How many ports wait for their turn in the rotas of the loop's services.
    @exclusivity(unchecked) var queuedCount = 0
    /// How many more may be served before events wait for their turns, though they be alone.
    @exclusivity(unchecked) private var remaining = 0
    /// How many are served before events of the loop count against the budgets of their guests.
    @exclusivity(unchecked) private var limit = Int.max
    /// Ports are being served, which does not keep their devices: those that end meanwhile are kept until it is done.
    @exclusivity(unchecked) private var isServing = false
    @exclusivity(unchecked) private var retired: [AnyObject] = []

    init(waking waker: Waker) {
        self.waker = waker
    }

    var isEmpty: Bool { unsafe listener == nil }

    /// A port has an event, which is served soon. To be called in the loop's thread.
    func add(_ next: Reference<PortListener>) {
        waker.wakeWithin()
        if unsafe queuedCount == 0 && remaining > 0 {
            guard let first = unsafe listener else { return unsafe listener = next }
            guard first != next else { return }
            unsafe listener = nil
            first.use { $0.queue() }
        }
        next.use { $0.queue() }
    }

    /// A listener is told nothing any more.
    func remove(_ gone: Reference<PortListener>) {
        if unsafe listener == gone { unsafe listener = nil }
    }

    /// Other things had their turn.
    func refill() {
        unsafe remaining = limit
    }

    /// A service of the loop gives a guest so many events: four times as many are served alone.
    func restrict(to budget: Int) {
        unsafe limit = min(limit, 4 * budget)
    }

    /// Serves the event, and those that come of it; returns how many.
    func serve(atMost count: Int) -> Int {
        var served = 0
        while served < count, let next = unsafe listener {
            unsafe listener = nil
            unsafe remaining &-= 1
            served &+= 1
            next.use { unsafe $0.user?.ringChanged() }
        }
        return served
    }

    /// Ports are served in `body`: devices that end in it are kept until it is over.
    func serving(_ body: () -> Void) {
        unsafe isServing = true
        body()
        unsafe isServing = false
        if unsafe !retired.isEmpty { unsafe retired.removeAll() }
    }

    /// Keeps a device that has ended for as long as it may be running.
    func retire(_ device: AnyObject) {
        if unsafe isServing { unsafe retired.append(device) }
    }
}

/// What is told that its port fired.
final class PortListener {
    /// Who is to look at the ring then (E3).
    @exclusivity(unchecked) var user: RingListener?
    /// Who serves the port.
    @exclusivity(unchecked) fileprivate var service: Reference<PortService>?
    @exclusivity(unchecked) fileprivate(set) var port = EventChannelPort(0)
    /// The guest at either end: whose turn it is counts by it.
    @exclusivity(unchecked) fileprivate(set) var guest = DomainID.dom0

    /// The port is served from now on. Traps if another is still.
    func begin(_ service: PortService, at port: EventChannelPort, of guest: DomainID) {
        unsafe precondition(self.service == nil, "a listener is told of one port")
        unsafe self.service = Reference(service)
        unsafe self.port = port
        unsafe self.guest = guest
    }

    /// It is served no longer.
    func end() {
        unsafe service = nil
    }

    /// The port waits for its turn.
    fileprivate func queue() {
        unsafe service?.use { unsafe $0.queue(port, of: guest) }
    }
}

/// How an event reaches its listener when both ends of it are in one loop, without asking the hypervisor again.
struct EventWay {
    /// The host's, when the way was found: any change since may have closed it.
    let generation: UInt64
    let loneEvent: Reference<LoneEvent>
    let listener: Reference<PortListener>

    /// Takes an event along; false if that is not possible now.
    func take(at generation: UInt64) -> Bool {
        guard generation == self.generation else { return false }
        return loneEvent.use { lone in
            guard lone.waker.isTurnedHere else { return false }
            lone.add(listener)
            return true
        }
    }
}
