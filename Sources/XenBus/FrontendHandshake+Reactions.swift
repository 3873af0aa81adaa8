// SPDX-License-Identifier: MIT

import XenInterface

// What the frontend's machine does about what it knows.
extension FrontendHandshake {
    /// Does what the backend's state and the own wishes call for, if nothing is in flight.
    package mutating func react(into actions: inout ActionList<Action>) {
        guard !isRunning else { return }
        switch state {
        case .idle:
            if wantsToClose { end(into: &actions) }
        case .refused:
            if wantsToClose {
                retract(into: &actions)
            } else if mustLookAtOwn {
                read(into: &actions)
            }
        case .reading:
            if isGone { abandon(into: &actions) }
        case .comparing:
            settleComparison(into: &actions)
        case .waiting, .connected:
            if isGone || isReborn {
                abandon(into: &actions)
            } else if mustLookAtOwn {
                lookAtOwn(into: &actions)
            } else if mustLook {
                lookAtBackend(into: &actions)
            } else {
                settle(into: &actions)
            }
        case .awaitingClosing, .awaitingClosed, .awaitingReturn:
            if mustLook {
                lookAtBackend(into: &actions)
            } else {
                settle(into: &actions)
            }
        case .holding:
            if timer == .expired { retry(into: &actions) }
        case .preparing, .publishing, .subscribing, .confirming, .closing, .closed, .returning, .retracting, .releasing,
            .finished:
            break
        }
    }

    private mutating func backendIsLate(
        for awaited: XenbusState,
        into actions: inout ActionList<Action>
    ) -> Bool {
        guard let backendState else { return false }
        return hasExpired(backendState, waitingFor: awaited, into: &actions)
    }

    private var backendLeaves: Bool { observed == .closing || observed == .closed }

    /// Whether there is no backend that could still follow.
    private var backendIsGone: Bool { observed == nil || observed == .unknown }

    /// Follows the backend, with nothing left to look at.
    private mutating func settle(into actions: inout ActionList<Action>) {
        switch state {
        case .waiting:
            if wantsToClose || backendLeaves {
                beginClosing(into: &actions)
            } else if observed == .connected {
                say(.connected, entering: .confirming, into: &actions)
            }
        case .connected:
            // 0 is passed over, as all other states are (B15).
            if wantsToClose || backendLeaves || observed == nil { beginClosing(into: &actions) }
        case .awaitingClosing:
            if !(backendLeaves || backendIsGone) {
                guard backendIsLate(for: .closing, into: &actions) else { return }
            }
            say(.closed, entering: .closed, into: &actions)
        case .awaitingClosed:
            if !(observed == .closed || backendIsGone) {
                guard backendIsLate(for: .closed, into: &actions) else { return }
            }
            if isReturning, !wantsToClose {
                say(.initialising, entering: .returning, into: &actions)
            } else {
                retract(into: &actions)
            }
        case .awaitingReturn:
            if wantsToClose {
                say(.closed, entering: .closed, into: &actions)
            } else if announced == .initialising {
                settleReturn(into: &actions)
            } else if revival == .over {
                retract(into: &actions)
            } else {
                leadBack(into: &actions)
            }
        case .idle, .reading, .refused, .comparing, .preparing, .publishing, .subscribing, .confirming, .closing,
            .closed, .returning, .retracting, .holding, .releasing, .finished:
            break
        }
    }

    /// The device is at 1; a backend that still closes an earlier life is waited for.
    private mutating func settleComparison(into actions: inout ActionList<Action>) {
        guard backendLeaves else { return prepare(into: &actions) }
        isReturning = true
        subscribe(into: &actions)
    }

    /// The first step of closing an earlier life that the backend has not made yet (B16a).
    private mutating func leadBack(into actions: inout ActionList<Action>) {
        switch observed {
        case .initialised, .connected, .reconfiguring, .reconfigured:
            // Nothing leads from 6 to 5: said again, 6 tells a backend that has missed it.
            if announced == .closed {
                say(.closed, entering: .closed, into: &actions)
            } else {
                say(.closing, entering: .closing, into: &actions)
            }
        case .closing:
            say(.closed, entering: .closed, into: &actions)
        case .closed:
            if revival == .late {
                guard timer == .expired else { return }
                // Only what took its time counts: a quick change of the backend's is no sign that the two cannot agree.
                fruitless += 1
            }
            say(.initialising, entering: .returning, into: &actions)
        case nil, .unknown, .initialising, .initWait:
            say(.initialising, entering: .returning, into: &actions)
        }
    }

    /// The device is back at 1: goes on when the backend is at 2, or does not answer.
    ///
    /// A backend at 5 or 6 is waited for without end: to publish for it would only close the device again.
    private mutating func settleReturn(into actions: inout ActionList<Action>) {
        switch observed {
        case nil, .unknown, .initialising, .initWait:
            prepare(into: &actions)
        case .closing, .closed:
            _ = backendIsLate(for: .initialising, into: &actions)
        case .initialised, .connected, .reconfiguring, .reconfigured:
            if backendIsLate(for: .initialising, into: &actions) { prepare(into: &actions) }
        }
    }

    private mutating func prepare(into actions: inout ActionList<Action>) {
        stopTimer(into: &actions)
        isReturning = false
        revival = .none
        state = .preparing
        actions.append(.prepare(backend: backendDomain, ownValues))
        // They are read again before the device is prepared again.
        ownValues = []
    }

    private mutating func beginClosing(into actions: inout ActionList<Action>) {
        if !wantsToClose { revival = state == .connected ? .prompt : .late }
        if state == .connected {
            actions.append(.disconnected)
        }
        if backendLeaves || backendIsGone {
            // The backend closed first: straight to 6, as Linux does (R6).
            say(.closed, entering: .closed, into: &actions)
        } else {
            say(.closing, entering: .closing, into: &actions)
        }
    }

    /// The store refused what the device needs: the backend is told by state 6, then everything is taken back.
    mutating func giveUp(into actions: inout ActionList<Action>) {
        guard !isGone, !isReborn else { return abandon(into: &actions) }
        if state == .connected {
            actions.append(.disconnected)
        }
        say(.closed, entering: .closed, into: &actions)
    }

    /// Gives up without another state: the directory is gone or another one.
    mutating func abandon(into actions: inout ActionList<Action>) {
        switch state {
        case .retracting, .releasing, .finished:
            return
        case .connected:
            actions.append(.disconnected)
        case .idle, .reading, .refused, .comparing, .preparing, .publishing, .subscribing, .waiting, .confirming,
            .closing, .awaitingClosing, .closed, .awaitingClosed, .returning, .awaitingReturn, .holding:
            break
        }
        retract(into: &actions)
    }

    /// Keeps page and port, and asks again later.
    mutating func hold(_ diagnostic: DeviceDiagnostic, into actions: inout ActionList<Action>) {
        if !isHeld { actions.append(.report(diagnostic)) }
        isHeld = true
        state = .holding
        startTimer(FrontendHandshake.retryInterval, into: &actions)
    }

    private mutating func retry(into actions: inout ActionList<Action>) {
        stopTimer(into: &actions)
        if mustSayClosed, !isGone, !isReborn {
            say(.closed, entering: .closed, into: &actions)
        } else {
            retract(into: &actions)
        }
    }

    mutating func release(into actions: inout ActionList<Action>) {
        guard isPrepared else { return end(into: &actions) }
        state = .releasing
        actions.append(.release)
    }

    /// Nothing is held any more: the end, or the beginning of another life of the device.
    mutating func end(into actions: inout ActionList<Action>) {
        // A directory that was made anew is a device that is closed in order as well: its backend waits.
        if isReborn || (revival.isWanted && !wantsToClose), !isGone {
            isReborn = false
            mustSayClosed = false
            details = []
            observed = nil
            return read(into: &actions)
        }
        state = .finished
        actions.append(.finished)
    }
}
