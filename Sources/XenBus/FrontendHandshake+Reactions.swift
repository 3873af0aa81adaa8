// SPDX-License-Identifier: MIT

import XenInterface

// What the frontend's machine does about what it knows.
extension FrontendHandshake {
    /// Does what the backend's state and the own wishes call for, if nothing is in flight.
    mutating func react(into actions: inout some ActionSink<Action> & ~Copyable) {
        guard script == nil else { return }
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
                look(.own, into: &actions)
            } else if mustLook {
                look(.backend, into: &actions)
            } else {
                settle(into: &actions)
            }
        case .awaitingClosing, .awaitingClosed, .awaitingReturn:
            if mustLook {
                look(.backend, into: &actions)
            } else {
                settle(into: &actions)
            }
        case .holding:
            if timer == .expired { retry(into: &actions) }
        case .preparing, .publishing, .announcing, .subscribing, .confirming, .closing, .closed, .returning,
            .retracting, .releasing, .finished:
            break
        }
    }

    private var backendLeaves: Bool { observed == .closing || observed == .closed }

    /// Whether there is no backend that could still follow.
    private var backendIsGone: Bool { observed == nil || observed == .unknown }

    /// Follows the backend, with nothing left to look at.
    private mutating func settle(into actions: inout some ActionSink<Action> & ~Copyable) {
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
                guard hasExpired(waitingFor: .closing, into: &actions) else { return }
            }
            say(.closed, entering: .closed, into: &actions)
        case .awaitingClosed:
            if !(observed == .closed || backendIsGone) {
                guard hasExpired(waitingFor: .closed, into: &actions) else { return }
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
            } else {
                leadBack(into: &actions)
            }
        case .idle, .reading, .refused, .comparing, .preparing, .publishing, .announcing, .subscribing, .confirming,
            .closing, .closed, .returning, .retracting, .holding, .releasing, .finished:
            break
        }
    }

    /// The device is at 1; a backend that still closes an earlier life is waited for.
    private mutating func settleComparison(into actions: inout some ActionSink<Action> & ~Copyable) {
        guard backendLeaves else { return prepare(into: &actions) }
        isReturning = true
        subscribe(into: &actions)
    }

    /// The first step of closing an earlier life that the backend has not made yet (B16a).
    private mutating func leadBack(into actions: inout some ActionSink<Action> & ~Copyable) {
        switch observed {
        case .initialised, .connected, .reconfiguring, .reconfigured:
            say(.closing, entering: .closing, into: &actions)
        case .closing:
            say(.closed, entering: .closed, into: &actions)
        case nil, .unknown, .initialising, .initWait, .closed:
            say(.initialising, entering: .returning, into: &actions)
        }
    }

    /// The device is back at 1: goes on when the backend is at 2, or does not answer.
    ///
    /// A backend at 5 or 6 is waited for without end: to publish for it would only close the device again.
    private mutating func settleReturn(into actions: inout some ActionSink<Action> & ~Copyable) {
        switch observed {
        case nil, .unknown, .initialising, .initWait:
            prepare(into: &actions)
        case .closing, .closed:
            _ = hasExpired(waitingFor: .initialising, into: &actions)
        case .initialised, .connected, .reconfiguring, .reconfigured:
            if hasExpired(waitingFor: .initialising, into: &actions) { prepare(into: &actions) }
        }
    }

    private mutating func prepare(into actions: inout some ActionSink<Action> & ~Copyable) {
        stopTimer(into: &actions)
        isReturning = false
        state = .preparing
        actions.append(.prepare(backend: backendDomain, ownValues))
    }

    private mutating func beginClosing(into actions: inout some ActionSink<Action> & ~Copyable) {
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
    mutating func giveUp(into actions: inout some ActionSink<Action> & ~Copyable) {
        guard !isGone, !isReborn else { return abandon(into: &actions) }
        if state == .connected {
            actions.append(.disconnected)
        }
        say(.closed, entering: .closed, into: &actions)
    }

    /// Gives up without another state: the directory is gone or another one.
    mutating func abandon(into actions: inout some ActionSink<Action> & ~Copyable) {
        switch state {
        case .retracting, .releasing, .finished:
            return
        case .connected:
            actions.append(.disconnected)
        case .idle, .reading, .refused, .comparing, .preparing, .publishing, .announcing, .subscribing, .waiting,
            .confirming, .closing, .awaitingClosing, .closed, .awaitingClosed, .returning, .awaitingReturn, .holding:
            break
        }
        retract(into: &actions)
    }

    /// Keeps page and port, and asks again later.
    mutating func hold(_ diagnostic: DeviceDiagnostic, into actions: inout some ActionSink<Action> & ~Copyable) {
        if !isHeld { actions.append(.report(diagnostic)) }
        isHeld = true
        state = .holding
        timer = .running
        actions.append(.startTimer(FrontendHandshake.retryInterval))
    }

    private mutating func retry(into actions: inout some ActionSink<Action> & ~Copyable) {
        stopTimer(into: &actions)
        if mustSayClosed, !isGone, !isReborn {
            say(.closed, entering: .closed, into: &actions)
        } else {
            retract(into: &actions)
        }
    }

    mutating func release(into actions: inout some ActionSink<Action> & ~Copyable) {
        guard isPrepared else { return end(into: &actions) }
        state = .releasing
        actions.append(.release)
    }

    /// Nothing is held any more: the end, or the beginning of the directory's next life.
    mutating func end(into actions: inout some ActionSink<Action> & ~Copyable) {
        if isReborn, !isGone, !wantsToClose {
            isReborn = false
            mustSayClosed = false
            details = []
            observed = nil
            return read(into: &actions)
        }
        state = .finished
        actions.append(.finished)
    }

    // MARK: The timer

    mutating func startTimer(into actions: inout some ActionSink<Action> & ~Copyable) {
        timer = .running
        actions.append(.startTimer(FrontendHandshake.closingPatience))
    }

    mutating func stopTimer(into actions: inout some ActionSink<Action> & ~Copyable) {
        if timer != .stopped { actions.append(.stopTimer) }
        timer = .stopped
    }

    /// Whether the time is up; says so once.
    private mutating func hasExpired(
        waitingFor awaited: XenbusState,
        into actions: inout some ActionSink<Action> & ~Copyable
    ) -> Bool {
        guard timer == .expired, let node = backendPath?.appending("state") else { return false }
        timer = .stopped
        actions.append(.report(DeviceDiagnostic(node, .noAnswer(to: awaited))))
        return true
    }
}
