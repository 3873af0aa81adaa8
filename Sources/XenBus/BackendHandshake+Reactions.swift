// SPDX-License-Identifier: MIT

import XenInterface

// What the backend's machine does about what it knows.
extension BackendHandshake {
    /// Does what the frontend's state, the own directory and the own wishes call for, if nothing is in flight.
    package mutating func react(into actions: inout ActionList<Action>) {
        guard !isRunning else { return }
        switch state {
        case .idle:
            if wantsToClose { finish(into: &actions) }
        case .reading:
            if isGone { leave(into: &actions) }
        case .refused:
            if wantsToClose || isGone {
                finish(into: &actions)
            } else if mustLookAtOwn {
                read(into: &actions)
            }
        case .waiting, .connected, .awaitingClosed, .closed:
            if isGone || isReborn {
                leave(into: &actions)
            } else if mustLookAtOwn {
                lookAtOwn(into: &actions)
            } else if mustLookAtFrontend {
                lookAtFrontend(into: &actions)
            } else {
                settle(into: &actions)
            }
        case .realising, .publishing, .announcing, .subscribing, .fetching, .connecting, .confirming, .rechecking,
            .closing, .disconnecting, .confirmingClosed, .returning, .retracting, .finished:
            break
        }
    }

    /// Somebody else wrote state 5 into the own node: the toolstack unplugs (B24).
    private var isUnplugged: Bool { found == .closing && announced != .closing }

    /// The frontend has published its numbers (B21).
    private var isFrontendReady: Bool { observed == .initialised || observed == .connected }

    /// The frontend is not where it could use the ring: closed, gone, or at the beginning of another life.
    var isFrontendAway: Bool {
        switch observed {
        case nil, .unknown, .initialising, .closed: true
        case .initWait, .initialised, .connected, .closing, .reconfiguring, .reconfigured: false
        }
    }

    private mutating func frontendIsLate(into actions: inout ActionList<Action>) -> Bool {
        hasExpired(frontendState, waitingFor: .closing, into: &actions)
    }

    /// Follows the frontend, with nothing left to look at.
    private mutating func settle(into actions: inout ActionList<Action>) {
        switch state {
        case .waiting:
            if isUnplugged {
                awaitClosed(into: &actions)
            } else if wantsToClose || !isOnline || observed == .closed {
                disconnect(into: &actions)
            } else if observed == .closing {
                say(.closing, entering: .closing, into: &actions)
            } else if hasNews, isFrontendReady {
                fetch(entering: .fetching, into: &actions)
            }
        case .connected:
            if isUnplugged {
                awaitClosed(into: &actions)
            } else if wantsToClose || !isOnline || observed == .closing {
                say(.closing, entering: .closing, into: &actions)
            } else if isFrontendAway {
                // Gone, or started over without closing: what is mapped is of the guest's earlier life.
                disconnect(into: &actions)
            } else if hasNews, isFrontendReady {
                fetch(entering: .rechecking, into: &actions)
            }
        case .awaitingClosed:
            if !isMapped || isFrontendAway || frontendIsLate(into: &actions) { disconnect(into: &actions) }
        case .closed:
            if isUnplugged {
                say(.closed, entering: .confirmingClosed, into: &actions)
            } else if wantsToClose || !isOnline {
                leave(into: &actions)
            } else if observed == .initialising || (hasFrontendLeft && isFrontendReady) {
                say(.initWait, entering: .returning, into: &actions)
            }
        case .idle, .reading, .refused, .realising, .publishing, .announcing, .subscribing, .fetching, .connecting,
            .confirming, .rechecking, .closing, .disconnecting, .confirmingClosed, .returning, .retracting, .finished:
            break
        }
    }

    /// State 5 is written: the frontend has its time to follow.
    mutating func awaitClosed(into actions: inout ActionList<Action>) {
        announced = .closing
        wait(in: .awaitingClosed, while: .closing)
        startTimer(BackendHandshake.closingPatience, into: &actions)
        react(into: &actions)
    }

    mutating func disconnect(into actions: inout ActionList<Action>) {
        stopTimer(into: &actions)
        guard isMapped else { return finishDisconnecting(into: &actions) }
        state = .disconnecting
        actions.append(.disconnect)
    }

    mutating func finishDisconnecting(into actions: inout ActionList<Action>) {
        if isGone || isReborn {
            leave(into: &actions)
        } else if mustReattach {
            fetch(entering: .fetching, into: &actions)
        } else {
            say(.closed, entering: .confirmingClosed, into: &actions)
        }
    }

    /// Lets go of everything: unmaps if need be, drops the watch, closes what was opened.
    ///
    /// That is the end if the directory is gone or the backend stops; otherwise the machine waits for the next life of the directory.
    mutating func leave(into actions: inout ActionList<Action>) {
        guard !isMapped else { return disconnect(into: &actions) }
        stopTimer(into: &actions)
        guard isWatching else { return rest(into: &actions) }
        let unwatch = StoreRequest.unwatch(frontendState, token: token)
        enter(.retracting, asking: StoreStep(unwatch, tolerating: [.noEntry]), into: &actions)
    }

    /// The watch is dropped.
    mutating func rest(into actions: inout ActionList<Action>) {
        isWatching = false
        if wantsToClose || isGone { return finish(into: &actions) }
        dispose(into: &actions)
        isReborn = false
        observed = nil
        hasFrontendLeft = false
        read(into: &actions)
    }

    private mutating func finish(into actions: inout ActionList<Action>) {
        dispose(into: &actions)
        state = .finished
        actions.append(.finished)
    }

    private mutating func dispose(into actions: inout ActionList<Action>) {
        guard isRealised else { return }
        isRealised = false
        actions.append(.dispose)
    }

    mutating func handleFailure(
        _ diagnostic: DeviceDiagnostic,
        into actions: inout ActionList<Action>
    ) {
        switch state {
        case .realising:
            actions.append(.report(diagnostic))
            state = .refused
            react(into: &actions)
        case .connecting:
            reportPeer(diagnostic, into: &actions)
            if diagnostic.problem == .missing || mustLookAtFrontend, announced == .initWait {
                // Nothing there is not yet (B34), and what was there may have been replaced since: the next look decides. A stock frontend
                // that is told to close does not come back.
                state = .waiting
                react(into: &actions)
            } else {
                // The guest's numbers were no good: it is told by state 5, and may start over (B23).
                say(.closing, entering: .closing, into: &actions)
            }
        case .idle, .reading, .refused, .publishing, .announcing, .subscribing, .waiting, .fetching, .confirming,
            .connected, .rechecking, .closing, .awaitingClosed, .disconnecting, .confirmingClosed, .closed, .returning,
            .retracting, .finished:
            break
        }
    }
}
