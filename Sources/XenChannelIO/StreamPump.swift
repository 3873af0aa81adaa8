// SPDX-License-Identifier: MIT

import XenChannels
import XenRing

/// Moves bytes between a ring and an outlet, both of which come and go; works only when one of them has something to do.
///
/// Bytes from the ring wait in the relay's backlog while there is no outlet, or in the ring if that is asked for. Bytes from the outlet are read a
/// good piece at a time, and no more of them until all of that is in the ring: what a client wrote before it left is delivered in order, before
/// the next client's.
final class StreamPump: RingUser, DeferredWork {
    private let reactor: Reactor
    // Nobody comes back to the pump while it is in the middle of these.
    @exclusivity(unchecked) private var relay: RingRelay
    /// Bytes that were read from an outlet and have found no room in the ring yet.
    @exclusivity(unchecked) private var inbound = ByteQueue()
    @exclusivity(unchecked) private var isDeferred = false
    private let durability: ChannelDurability
    private(set) var ring: AttachedRing? {
        didSet { unsafe used = ring.map { Reference($0) } }
    }
    /// The ring, for the way of the bytes.
    @exclusivity(unchecked) private var used: Reference<AttachedRing>?
    private(set) var outlet: Outlet?
    /// Called when the outlet is over and detached.
    var onOutletOver: () -> Void = {}
    var onViolation: (RingViolation) -> Void = { _ in }
    var onOverflow: () -> Void = {}
    private var overflow = OverflowNotice()
    /// Nobody takes the peer's bytes, and the policy does not wait for ever.
    private(set) var overflowTimer: Reactor.Timer?
    @exclusivity(unchecked) private var watch = ViolationWatch()
    /// Bytes wait outside and the ring is full: some peers never say that they made room (A22).
    private var patience: Reactor.Timer?

    /// How many pieces are moved in each direction before others have their turn.
    private static let piecesAtOnce = 16

    init(
        on reactor: Reactor,
        limit: Int = ChannelAttachment.defaultLimit,
        service: ChannelService = ChannelService(overflow: .blockForever)
    ) {
        self.reactor = reactor
        durability = service.durability
        unsafe relay = RingRelay(limit: limit, policy: service.overflow)
    }

    deinit {
        patience?.cancel()
        overflowTimer?.cancel()
    }

    var statistics: RelayStatistics { unsafe relay.statistics }
    /// Bytes of the peer that nobody has taken.
    var backlogCount: Int { unsafe relay.backlog.count }
    /// Whether the slow timer runs.
    var isPatient: Bool { patience?.isRunning ?? false }
    /// Bytes that were read from outside and are not in the ring yet.
    var inboundCount: Int { unsafe inbound.count }
    var untakenCount: Int { ring?.untakenCount ?? untakenAtEnd }
    private var untakenAtEnd = 0

    var listener: RingListener { .pump(Reference(self)) }

    /// Begins to serve a ring, and looks at it.
    func attach(_ ring: AttachedRing, limit: Int) {
        self.ring = ring
        unsafe relay.limit = limit
        unsafe watch = ViolationWatch()
        unsafe overflow.begin(after: relay.statistics)
        run()
    }

    /// Stops serving the ring, after taking what is in it: that much may wait beyond the limit, since there is no other place for it.
    func detachRing() {
        if let ring { unsafe relay.allowRest(of: ring.ring) }
        run()
        if let ring {
            for _ in 0..<StreamPump.piecesAtOnce where !drain(ring) { break }
            ring.flush()
            untakenAtEnd = ring.untakenCount
        }
        ring = nil
        run()
    }

    /// Begins to serve an outlet. Traps if there is one.
    func attach(_ outlet: Outlet) {
        precondition(self.outlet == nil, "one outlet at a time")
        self.outlet = outlet
        run()
    }

    /// Drops the outlet; what was not handed out waits for the next one.
    func detachOutlet() {
        patience?.cancel()
        outlet?.close()
        outlet = nil
    }

    /// Takes from the ring and gives to it; what goes outside is collected until the turn's end, since each system call costs
    /// more than many bytes.
    func ringChanged() {
        unsafe used?.use { ring in
            if durability == .backlog { drain(ring) }
            _ = pumpIn(ring)
            ring.flush()
        }
        guard unsafe !isDeferred else { return }
        unsafe isDeferred = true
        reactor.later(self)
    }

    func runDeferred() {
        unsafe isDeferred = false
        run()
    }

    /// Moves what can be moved, tells the peer, and says what to wait for. To be called whenever anything may have changed.
    func run() {
        let waitsForOutlet = pumpOut()
        keepDeadline()
        if unsafe inbound.isEmpty && !waitsForOutlet { outlet?.readOn() }
        let waitsForRing = unsafe used?.use { pumpIn($0) } ?? false
        ring?.flush()
        let violation = unsafe watch.take()
        let mustDisconnect = unsafe relay.takeDisconnection()
        if let outlet {
            if outlet.isOver || mustDisconnect {
                detachOutlet()
                onOutletOver()
            } else {
                unsafe outlet.want(input: ring != nil && !waitsForRing && inbound.isEmpty, output: waitsForOutlet)
                keepPatience(waitsForRing)
            }
        }
        // Last, when all is in order: the owner may do anything now.
        if let violation { onViolation(violation) }
        if unsafe overflow.take(from: relay.statistics) { onOverflow() }
    }

    /// From the ring to the outlet; returns whether the outlet must be writable to go on.
    private func pumpOut() -> Bool {
        for _ in 0..<StreamPump.piecesAtOnce {
            if durability == .backlog { _ = unsafe used?.use { drain($0) } }
            guard let outlet, !outlet.isDeaf else {
                leaveInRing()
                return false
            }
            let transfer = unsafe relay.backlog.isEmpty ? handOver(to: outlet) : handOut(to: outlet)
            switch transfer {
            // On to the ring again, even when it seemed empty: there may have been no room to take what is in it.
            case .moved:
                overflowTimer?.cancel()
            case .wait:
                leaveInRing()
                return true
            case .gone, .end, nil: return false
            }
        }
        return true
    }

    /// From the backlog, which is not empty, to the outlet, once.
    private func handOut(to outlet: Outlet) -> Descriptor.Transfer {
        let transfer = unsafe relay.backlog.withBytes { outlet.write($0) }
        if case .moved(let count) = transfer { unsafe relay.handedOut(count, giving: &reactor.spareMemory) }
        return transfer
    }

    /// From the ring to the outlet, once, if that is where the bytes are kept; nil if there are none.
    private func handOver(to outlet: Outlet) -> Descriptor.Transfer? {
        guard durability == .ring, let ring else { return nil }
        // Taken out of the loop's object first: the compiler cannot follow a span into it through all of this.
        let scratch = unsafe reactor.scratch
        var buffer = unsafe MutableSpan(_unsafeElements: scratch)
        let count = unsafe relay.peek(&ring.ring, into: &buffer)
        unsafe watch.note(relay.violation)
        guard count > 0 else { return nil }
        let transfer = outlet.write(buffer.span.extracting(first: count))
        if case .moved(let taken) = transfer { unsafe ring.note(relay.advance(by: taken, in: &ring.ring)) }
        return transfer
    }

    /// Nobody takes what is in the ring.
    private func leaveInRing() {
        guard durability == .ring, let ring else { return }
        unsafe ring.note(relay.leave(in: &ring.ring))
    }

    /// Has the policy decide when nobody has taken a byte for as long as it allows.
    private func keepDeadline() {
        guard let deadline = unsafe relay.deadline else {
            overflowTimer?.cancel()
            return
        }
        let timer = overflowTimer ?? Reactor.Timer { [unowned self] in overflowDeadlinePassed() }
        overflowTimer = timer
        if !timer.isRunning { reactor.start(timer, after: deadline) }
    }

    private func overflowDeadlinePassed() {
        unsafe relay.deadlinePassed()
        run()
    }

    /// Takes what is in the ring, once: a peer that produces meanwhile sends another event. Returns whether there was anything.
    @discardableResult
    private func drain(_ ring: AttachedRing) -> Bool {
        let hasTaken = unsafe relay.drain(&ring.ring, using: &reactor.spareMemory)
        ring.note(hasTaken)
        unsafe watch.note(relay.violation)
        return hasTaken
    }

    /// From the outlet to the ring; returns whether the ring must have room to go on.
    private func pumpIn(_ ring: AttachedRing) -> Bool {
        for _ in 0..<StreamPump.piecesAtOnce {
            guard unsafe !inbound.isEmpty || (outlet.map { $0.mayRead && !$0.isEnded } ?? false) else { return false }
            let room = unsafe relay.room(in: &ring.ring)
            unsafe watch.note(relay.violation)
            guard room > 0 else { return true }
            let isFresh = unsafe inbound.isEmpty
            if isFresh { readOutlet() }
            let count = unsafe min(room, inbound.count)
            if count > 0 { unsafe ring.note(relay.send(count, of: &inbound, to: &ring.ring)) }
            if unsafe isFresh || inbound.isEmpty { unsafe inbound.trim(giving: &reactor.spareMemory) }
            // Full: whoever makes room says so after that, or is looked for in a while.
            if unsafe !inbound.isEmpty { return true }
        }
        return false
    }

    /// Reads once, as much as is worth a system call.
    private func readOutlet() {
        guard let outlet else { return }
        unsafe inbound.useMemory(of: &reactor.spareMemory)
        unsafe inbound.append(upTo: Reactor.scratchSize) { _ = outlet.read(appendingTo: &$0) }
    }

    private func keepPatience(_ waitsForRing: Bool) {
        guard waitsForRing else {
            patience?.cancel()
            return
        }
        guard !isPatient else { return }
        let timer = patience ?? Reactor.Timer { [unowned self] in run() }
        patience = timer
        reactor.start(timer, after: RingRelay.roomPollInterval)
    }
}

/// Notices the first violation of an attachment: that one is told; all are counted (A31). A peer cannot fill a log.
struct ViolationWatch {
    private var hasTold = false
    private var first: RingViolation?

    /// Notes what the last operation came to.
    mutating func note(_ violation: RingViolation?) {
        if !hasTold, first == nil { first = violation }
    }

    /// Takes the violation to tell of, if there is one.
    mutating func take() -> RingViolation? {
        guard let violation = first else { return nil }
        first = nil
        hasTold = true
        return violation
    }
}
