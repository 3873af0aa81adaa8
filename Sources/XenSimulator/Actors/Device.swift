// SPDX-License-Identifier: MIT

import XenBus
import XenChannels
import XenExploration
import XenInterface
import XenRing

/// One side of one channel: carries out what its machine asks for, and moves its bytes.
class Device: Actor {
    let key: DeviceKey
    let channel: ChannelRecord?
    unowned let daemon: Daemon
    /// Its daemon's, for as long as it lives.
    private let services: Services?
    private let pumpSlot: Slot<Pump>
    final var pump: Pump {
        unsafeAddress { unsafe pumpSlot.reading }
        unsafeMutableAddress { unsafe pumpSlot.writing }
    }
    var port: EventChannelPort?
    /// The state that the store holds of it.
    private var announced = XenbusState.unknown
    private var mayBeginAnew = false
    /// The timer of the overflow's deadline runs.
    private var hasDeadline = false
    /// What its open transaction wrote as its state, if it did: nil if that was none.
    private var proposed: XenbusState??

    /// How often in a row a full ring was looked at again by itself.
    private var polls: Int32 = 0
    /// Who polls for ever would keep the world from coming to rest: the peer is taken to read no more then.
    private static let patience = 4000

    /// How many dropped bytes were noticed.
    private var droppedBefore: UInt64 = 0

    /// The node `state` in its own directory of the store.
    private let ownState: StorePath

    init(
        _ id: Int,
        _ key: DeviceKey,
        state ownState: StorePath,
        of channel: ChannelRecord?,
        for daemon: Daemon,
        side: ConsoleRole
    ) {
        self.key = key
        self.ownState = ownState
        self.channel = channel
        self.daemon = daemon
        services = daemon.services
        pumpSlot = Slot(Pump(side))
        super.init(id, in: daemon.world)
    }

    var hasWork: Bool { false }

    /// The machine's timer ran out.
    func machineTimerFired() {}
    func start() {}
    func peerChanged() {}
    func ownChanged(_: OwnChange) {}
    func vanished() {}
    /// Ends in order.
    func close() {}
    /// Ends with the process, without a word.
    func die() {}
    /// Does the first of what the machine asked for that others can see; returns false if there was nothing of the kind.
    func work() -> Bool { false }

    final override func step() -> Bool {
        let mustPump = pump.isBusy || pump.mustNotify
        if hasWork, !mustPump || !world.chance.choices.bool() {
            if !work(), mustPump { movePump() }
        } else if mustPump {
            movePump()
        }
        let isBusy = hasWork || pump.isBusy || pump.mustNotify
        if !isBusy {
            pollIfFull()
            forgetEventsIfBroken()
        }
        return isBusy
    }

    /// Looks at a full ring again after a while: a peer may never tell that it made room (A22). Between ours that is a bug, and would be
    /// hidden by it.
    private func pollIfFull() {
        guard pump.isRingFull else {
            polls = 0
            return
        }
        let peer = pump.role == .backend ? channel?.frontend : channel?.backend
        guard peer is PeerDevice, polls < Device.patience else { return }
        polls += 1
        let deadline = world.now + RingRelay.roomPollInterval
        world.timers.start(.init(deadline: deadline, actor: id, purpose: .poll))
    }

    final override func timerFired(_ purpose: TimerList.Purpose) {
        switch purpose {
        case .poll:
            pump.look.insert(.fill)
        case .overflow:
            hasDeadline = false
            pump.relay.deadlinePassed()
            pump.look.insert(.drain)
        case .machine, .scan, .resume, .restart, .reopen:
            return machineTimerFired()
        }
        world.wake(id)
    }

    private func movePump() {
        guard pump.isBusy else { return notify() }
        pump.step(world)
        guard pump.role == .backend else { return }
        keepDeadline()
        noteOverflow()
    }

    // MARK: A reader that does not read

    /// Has the policy decide when nobody has taken a byte for as long as it allows.
    final func keepDeadline() {
        let deadline = pump.relay.deadline
        guard (deadline != nil) != hasDeadline else { return }
        hasDeadline = deadline != nil
        if let deadline {
            world.timers.start(.init(deadline: world.now + deadline, actor: id, purpose: .overflow))
        } else {
            world.timers.stop(id, .overflow)
        }
    }

    /// Counts what was dropped, tells of the first time, and cuts off whom the policy cuts off.
    final func noteOverflow() {
        let statistics = pump.relay.statistics
        if statistics.bytesDropped > droppedBefore {
            world.note("drops \(statistics.bytesDropped - droppedBefore)")
            channel?.lostFromGuest += statistics.bytesDropped - droppedBefore
            channel?.isExact = false
            droppedBefore = statistics.bytesDropped
        }
        if pump.overflow.take(from: statistics) {
            world.note("nobody takes the guest's bytes: \(statistics.bytesDropped) dropped so far")
            channel?.overflowsTold += 1
        }
        guard pump.relay.takeDisconnection(), let client = channel?.client, client.pipe != nil else { return }
        world.note("disconnects its client", to: client.id)
        client.hangUp()
        world.wake(client.id)
    }

    private func notify() {
        pump.mustNotify = false
        guard let port else { return }
        world.note("notifies", to: nil)
        // The peer may be gone: there is nobody to tell then.
        try? services?.events.notify(port)
    }

    /// The port is pending: clear, then look (E3).
    final func portFired(_ port: EventChannelPort) {
        let isBusy = hasWork || pump.isBusy || pump.mustNotify
        if let substitution = world.substitution,
            !substitution.looksAtRing(after: port, side: pump.role, isBusy: isBusy)
        {
            return
        }
        pump.look.formUnion([.drain, .fill])
        world.wake(id)
    }

    private func forgetEventsIfBroken() {
        guard let substitution = world.substitution, let port else { return }
        if substitution.forgetsEventsBeforeSleeping(side: pump.role) { daemon.forgetEvents(of: port) }
    }

    /// The program at the end has read or written.
    final override func pipeChanged() {
        pump.look.formUnion([.handOut, .fill])
    }

    final override func leave() {
        channel?.forget(self)
    }

    // MARK: Store

    /// Carries out a request, and checks the states that are announced.
    final func perform(_ request: StoreRequest, in transaction: StoreTransactionID) -> StoreReply {
        let world = world
        let reply = services?.perform(request, in: transaction) ?? .failure(.inputOutput)
        world.note(StoreText.of(request, reply))
        note(request, in: transaction, reply)
        return reply
    }

    /// Checks who writes where. What is written as the state in a transaction is announced by its commit, if that succeeds.
    private func note(_ request: StoreRequest, in transaction: StoreTransactionID, _ reply: StoreReply) {
        switch request {
        case .write(let path, let value):
            guard path == ownState else { return checkOwn(path) }
            guard case .done = reply else { return }
            let state = XenbusState(storeValue: value)
            if transaction == .none { check(state) } else { proposed = .some(state) }
        case .makeDirectory(let path), .remove(let path), .setPermissions(let path, _):
            checkOwn(path)
        case .read(let path):
            // Whoever finds another state than his own may begin a new life: the directory was made anew, as far as he can see.
            if path == ownState, !isOwnState(reply) { mayBeginAnew = true }
        case .endTransaction(let commit):
            if commit, case .done = reply, let state = proposed { check(state) }
            proposed = nil
        case .directory, .directoryPart, .getPermissions, .watch, .unwatch, .resetWatches, .beginTransaction,
            .introduce, .release, .resume, .setTarget, .isIntroduced, .domainPath:
            return
        }
    }

    /// Each side writes below its own directory only, but for the terminal's name that a backend leaves for the guest's toolstack.
    private func checkOwn(_ path: StorePath) {
        if path.isBelow(directoryOf: ownState) { return }
        let terminal = DevicePaths.frontend(key.device, of: key.frontend).appending("tty")
        if pump.role == .backend, path == terminal { return }
        world.journal.fail("the \(pump.role) of \(key.frontend)/\(key.device) changes \(path), not its own")
    }

    private func isOwnState(_ reply: StoreReply) -> Bool {
        if case .value(let value) = reply { XenbusState(storeValue: value) == announced } else { false }
    }

    private func check(_ state: XenbusState?) {
        guard let state else {
            return world.journal.fail("the \(pump.role) of \(key.frontend)/\(key.device) writes no state")
        }
        let isLegal =
            announced == state || StateRules.isLegal(announced, state, pump.role)
            || mayBeginAnew && StateRules.isLegal(.unknown, state, pump.role)
        if !isLegal {
            world.journal.fail("the \(pump.role) of \(key.frontend)/\(key.device) goes from \(announced) to \(state)")
        }
        announced = state
        mayBeginAnew = false
    }

    final func startTimer(_ duration: Duration) {
        world.timers.start(.init(deadline: world.now + duration, actor: id, purpose: .machine))
    }
}

/// Which states may follow each other, as a side writes them (B13, R6).
enum StateRules {
    static func isLegal(_ before: XenbusState, _ after: XenbusState, _ side: ConsoleRole) -> Bool {
        switch (side, before) {
        case (.frontend, .unknown): after != .initWait && after != .connected
        case (.frontend, .initialising): after == .initialised || after == .closing || after == .closed
        case (.frontend, .initialised): after != .initWait
        case (.frontend, .connected): after == .closing || after == .closed
        case (.frontend, .closing): after == .closed
        // A guest that wants the device again, or that was resumed elsewhere, begins anew.
        case (.frontend, .closed): after == .initialising
        case (.backend, .unknown): after == .initWait || after == .closing || after == .closed
        case (.backend, .initWait): after == .connected || after == .closing || after == .closed
        case (.backend, .connected): after == .closing || after == .closed
        case (.backend, .closing): after == .closed
        case (.backend, .closed): after == .initWait
        case (.frontend, _), (.backend, _): false
        }
    }
}
