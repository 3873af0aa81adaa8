// SPDX-License-Identifier: MIT

import XenChannels
import XenRing

extension ChannelStream: RingUser {
    var listener: RingListener { .stream(Reference(self)) }
    var statistics: RelayStatistics {
        var sum = unsafe relay.statistics
        sum.bytesDropped &+= droppedPeeked
        return sum
    }
    var backlogCount: Int { unsafe relay.backlog.count }
    var inboundCount: Int { 0 }
    var untakenCount: Int { ring?.untakenCount ?? untakenAtEnd }

    func attach(_ ring: AttachedRing, limit: Int) {
        self.ring = ring
        unsafe relay.limit = limit
        unsafe overflow.notice.begin(after: relay.statistics)
        beginAttachment()
        lookLater()
    }

    /// What is in the ring may wait beyond the limit: there is no other place for it.
    func detachRing() {
        guard let ring else { return }
        unsafe relay.allowRest(of: ring.ring)
        while unsafe relay.drain(&ring.ring) { ring.note(true) }
        leave(ring)
        wake()
    }

    private func leave(_ ring: AttachedRing) {
        ring.flush()
        untakenAtEnd = ring.untakenCount
        self.ring = nil
        endStall()
    }

    func ringChanged() {
        wake()
        lookLater()
    }

    func run() { wake() }
}

extension ChannelStream: Endpoint {
    var user: any RingUser { self }
    var tty: String? { nil }

    /// The channel is closed.
    func close() {
        guard unsafe !isClosed else { return }
        unsafe isClosed = true
        endStall()
        wake()
    }
}

extension ChannelStream: DeferredWork {
    /// Whoever reads has had its turn.
    func runDeferred() {
        unsafe isDeferred = false
        guard let ring else { return }
        if unsafe !isClosed, unsafe (try? ring.ring.input.isFull()) ?? false { ringStaysFull(ring) }
        ring.flush()
    }
}

/// What a stream knows of a reader that does not read.
struct OverflowState {
    var notice = OverflowNotice()
    /// Runs while the other side waits for room, unless the policy has it wait for ever.
    var timer: Reactor.Timer?
    /// Nobody has taken a byte for as long as the policy allows.
    var isLate = false
    /// The reader was cut off.
    var hasDisconnected = false
}

extension ChannelStream {
    /// The other side has no room: lets it have some, if the service has a place for its bytes or the policy says so.
    private func ringStaysFull(_ ring: AttachedRing) {
        if mayDrop(ring) { takePeeked() }
        switch service.durability {
        case .backlog: unsafe ring.note(relay.drain(&ring.ring))
        case .ring: unsafe ring.note(relay.leave(in: &ring.ring))
        }
        if let deadline = unsafe relay.deadline {
            let timer = overflow.timer ?? Reactor.Timer { [unowned self] in deadlinePassed() }
            overflow.timer = timer
            unsafe isStalled = true
            if !timer.isRunning { reactor.start(timer, after: deadline) }
        }
        if unsafe relay.takeDisconnection() { disconnect(ring) }
        if unsafe overflow.notice.take(from: relay.statistics) { onOverflow() }
    }

    /// Nobody has taken a byte for as long as the policy allows.
    func deadlinePassed() {
        overflow.isLate = true
        unsafe isStalled = true
        unsafe relay.deadlinePassed()
        runDeferred()
    }

    /// Somebody took a byte, or there is nothing to take any more.
    func endStall() {
        unsafe isStalled = false
        overflow.isLate = false
        overflow.timer?.cancel()
    }

    private func mayDrop(_ ring: AttachedRing) -> Bool {
        switch service.overflow {
        case .block: guard overflow.isLate else { return false }
        case .dropMiddle, .disconnect: break
        }
        return unsafe service.durability == .ring
            || relay.backlog.count + ring.ring.input.capacity > relay.limit
    }

    /// The reader looks again, and did not take all that it had seen.
    func forgetTakenEarly() {
        droppedPeeked &+= unsafe UInt64(takenEarly)
        unsafe takenEarly = 0
    }

    /// What was shown to the reader is not dropped with the rest: it makes room.
    private func takePeeked() {
        let count = unsafe peekedCount - takenEarly
        guard count > 0 else { return }
        take(count)
        unsafe takenEarly = peekedCount
        endStall()
    }

    /// The reader is cut off, and the channel closed: what is in the ring stays there.
    private func disconnect(_ ring: AttachedRing) {
        overflow.hasDisconnected = true
        leave(ring)
        finish()
    }
}
