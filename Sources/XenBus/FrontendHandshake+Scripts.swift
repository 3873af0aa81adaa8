// SPDX-License-Identifier: MIT

import XenInterface

// What the frontend's machine reads and writes, and how it takes the answers.
extension FrontendHandshake {
    /// Reads the own directory; a change seen from here on calls for another look.
    mutating func read(into actions: inout ActionList<Action>) {
        mustLookAtOwn = false
        var steps = [
            StoreStep(.read(ownState.sibling("backend")), tolerating: [.noEntry]),
            StoreStep(.read(ownState.sibling("backend-id")), tolerating: [.noEntry]),
            StoreStep(.read(ownState), tolerating: [.noEntry]),
        ]
        for name in ownNodes { steps.append(StoreStep(.read(ownState.sibling(name)), tolerating: [.noEntry])) }
        enter(.reading, running: steps, into: &actions)
    }

    mutating func lookAtOwn(into actions: inout ActionList<Action>) {
        mustLookAtOwn = false
        look(.own, asking: StoreStep(.read(ownState), tolerating: [.noEntry]), into: &actions)
    }

    /// Reads the backend's state, and where it matters whether it is to be there at all.
    mutating func lookAtBackend(into actions: inout ActionList<Action>) {
        guard let backendState else { return }
        mustLook = false
        let read = StoreStep(.read(backendState), tolerating: [.noEntry, .accessDenied])
        guard revival.isWanted else { return look(.backend, asking: read, into: &actions) }
        let online = StoreStep(.read(backendState.sibling("online")), tolerating: [.noEntry, .accessDenied])
        look(.backend, running: [read, online], into: &actions)
    }

    private mutating func lookForNumbers(into actions: inout ActionList<Action>) {
        let reads = details.map { numberStep(.read(ownState.sibling($0.name))) }
        look(.numbers, running: reads, into: &actions)
    }

    /// A step whose refusal is an answer as well.
    private func numberStep(_ request: StoreRequest) -> StoreStep {
        StoreStep(request, tolerating: .all)
    }

    /// Looks at the backend before anything is made for it.
    private mutating func compare(into actions: inout ActionList<Action>) {
        state = .comparing
        lookAtBackend(into: &actions)
    }

    /// Writes the numbers of what was prepared and state 3, all or none, and none if the directory is gone: a plain write would make it
    /// anew (D16).
    mutating func publish(into actions: inout ActionList<Action>) {
        var steps: [StoreStep] = []
        steps.reserveCapacity(details.count + 2)
        steps.append(StoreStep(.read(ownState)))
        for detail in details { steps.append(StoreStep(.write(ownState.sibling(detail.name), detail.value))) }
        steps.append(StoreStep(.write(ownState, XenbusState.initialised.storeValue)))
        isPublished = true
        // The first step is the look that a change until now calls for.
        mustLookAtOwn = false
        enter(.publishing, running: steps, transaction: true, keepingReplies: false, into: &actions)
    }

    mutating func subscribe(into actions: inout ActionList<Action>) {
        guard let backendState else { return }
        let watch = StoreRequest.watch(backendState, token: token)
        enter(.subscribing, asking: StoreStep(watch), into: &actions)
    }

    mutating func say(
        _ announced: XenbusState,
        entering state: State,
        into actions: inout ActionList<Action>
    ) {
        // A timer belongs to the wait that ends here.
        stopTimer(into: &actions)
        self.announced = announced
        guard announced == .connected else { return write(announced, to: ownState, entering: state, into: &actions) }
        // A directory that was made anew is at 1 and has no numbers: to say 4 there would leave both sides waiting for ever.
        mustLookAtOwn = false
        write(announced, to: ownState, unless: .initialising, entering: state, into: &actions)
    }

    /// Takes back what is in the store: the watch and the numbers.
    ///
    /// Removing makes nothing anew, so it is asked for even if the directory seems to be gone.
    mutating func retract(into actions: inout ActionList<Action>) {
        stopTimer(into: &actions)
        var steps: [StoreStep] = []
        steps.reserveCapacity(details.count + 1)
        if isPublished {
            for detail in details { steps.append(numberStep(.remove(ownState.sibling(detail.name)))) }
        }
        if isWatching, let backendState {
            steps.append(numberStep(.unwatch(backendState, token: token)))
        }
        enter(.retracting, running: steps, into: &actions)
    }

    /// The removals are answered. Xenstored refuses that of a node that is not there where its directory is not either (D11): it is
    /// looked for.
    private mutating func finishRemoving(
        _ replies: StoreReplies,
        into actions: inout ActionList<Action>
    ) {
        isWatching = false
        guard isPublished else { return release(into: &actions) }
        for (index, reply) in replies.prefix(details.count).enumerated() {
            guard case .failure(let code) = reply, code != .noEntry else { continue }
            refusal = Refusal(detail: Int32(index), code: code)
            return lookForNumbers(into: &actions)
        }
        finishRetracting(into: &actions)
    }

    /// The numbers were looked for after a refusal: only what is not there can be let go.
    private mutating func finishLooking(
        _ replies: StoreReplies,
        into actions: inout ActionList<Action>
    ) {
        let isThere = replies.contains { $0 != .failure(.noEntry) }
        guard isThere, let refusal else { return finishRetracting(into: &actions) }
        self.refusal = nil
        let node = ownState.sibling(details[Int(refusal.detail)].name)
        hold(DeviceDiagnostic(node, .notRetracted(refusal.code)), into: &actions)
    }

    private mutating func finishRetracting(into actions: inout ActionList<Action>) {
        refusal = nil
        isHeld = false
        isPublished = false
        release(into: &actions)
    }

    package mutating func finish(
        _ look: Look?,
        _ replies: StoreReplies,
        into actions: inout ActionList<Action>
    ) {
        if state == .subscribing { isWatching = true }
        if isGone, state != .retracting { return abandon(into: &actions) }
        switch look {
        case nil: finishStep(replies, into: &actions)
        case .directory: observeDirectory(replies[0].nodeValue, into: &actions)
        case .own: observeOwn(replies[0].nodeValue)
        case .backend: observeBackend(replies, into: &actions)
        case .numbers: finishLooking(replies, into: &actions)
        }
    }

    private mutating func finishStep(
        _ replies: StoreReplies,
        into actions: inout ActionList<Action>
    ) {
        switch state {
        case .reading:
            understand(replies, into: &actions)
        case .publishing:
            announced = .initialised
            if isWatching { wait(in: .waiting, while: .initWait) } else { subscribe(into: &actions) }
        case .subscribing:
            wait(in: isReturning ? .awaitingReturn : .waiting)
            if isReturning, revival == .late, fruitless < FrontendHandshake.maximumFruitless {
                startTimer(FrontendHandshake.retryInterval, into: &actions)
            }
        case .confirming:
            state = .connected
            fruitless = 0
            actions.append(.connected)
        case .closing:
            wait(in: .awaitingClosing, while: .connected)
            startTimer(FrontendHandshake.closingPatience, into: &actions)
        case .closed:
            mustSayClosed = false
            isHeld = false
            guard isPublished || isReturning, !(isReturning && wantsToClose) else { return retract(into: &actions) }
            wait(in: .awaitingClosed, while: .closing)
            startTimer(FrontendHandshake.closingPatience, into: &actions)
        case .returning:
            revival = .none
            wait(in: .awaitingReturn, while: .closed)
            startTimer(FrontendHandshake.closingPatience, into: &actions)
        case .retracting:
            finishRemoving(replies, into: &actions)
        case .idle, .refused, .comparing, .preparing, .waiting, .connected, .awaitingClosing, .awaitingClosed,
            .awaitingReturn, .holding, .releasing, .finished:
            break
        }
    }

    /// Waits for the backend to leave `current`. Where it was seen last: whatever it did since fires the watch. Anywhere else it is looked at
    /// before anything is concluded.
    private mutating func wait(in state: State, while current: XenbusState? = nil) {
        self.state = state
        if current == nil || observed != current { mustLook = true }
    }

    private mutating func understand(
        _ replies: StoreReplies,
        into actions: inout ActionList<Action>
    ) {
        let values = replies.values
        guard let backend = values[0] else {
            // The directory itself tells "not complete yet" from "gone".
            return look(.directory, asking: StoreStep(.read(directory), tolerating: [.noEntry]), into: &actions)
        }
        guard let path = StorePath(backend.text), path.isAbsolute else {
            return refuse("backend", backend, "an absolute path", into: &actions)
        }
        guard let number = values[1]?.decimal(UInt16.self), DomainID(number).isValid else {
            return refuse("backend-id", values[1], "a domain's number", into: &actions)
        }
        guard let own = values[2].flatMap(XenbusState.init(storeValue:)), own != .unknown else {
            return refuse("state", values[2], "a state from 1 to 8", into: &actions)
        }
        backendState = path.appending("state")
        backendDomain = DomainID(number)
        ownValues = Array(values.dropFirst(3))
        announced = own
        isReturning = own != .initialising
        if isReturning { subscribe(into: &actions) } else { compare(into: &actions) }
    }

    private mutating func refuse(
        _ node: String,
        _ value: StoreValue?,
        _ wanted: String,
        into actions: inout ActionList<Action>
    ) {
        if let value {
            // What is missing may still be on its way: the change will be seen.
            actions.append(.report(DeviceDiagnostic(ownState.sibling(node), .unexpected(value, wanted: wanted))))
        }
        state = .refused
    }

    package mutating func handleFailure(
        _ failure: StoreFailure,
        into actions: inout ActionList<Action>
    ) {
        if state == .publishing {
            // A transaction that was not committed, or met a conflict, has changed nothing.
            isPublished = failure.request == .endTransaction(commit: true) && failure.code != .again
        }
        if failure.code == .noEntry {
            isReborn = true
            return abandon(into: &actions)
        }
        wantsToClose = true
        let diagnostic = DeviceDiagnostic(failure.request.node ?? directory, .refused(failure.code))
        if state == .closed, isPublished {
            mustSayClosed = true
            return hold(diagnostic, into: &actions)
        }
        actions.append(.report(diagnostic))
        if state == .closed || state == .awaitingClosed {
            retract(into: &actions)
        } else {
            giveUp(into: &actions)
        }
    }

    /// The node `backend` is missing: the directory is not complete, or gone.
    private mutating func observeDirectory(_ value: StoreValue?, into actions: inout ActionList<Action>) {
        if value != nil {
            refuse("backend", nil, "an absolute path", into: &actions)
        } else if mustLookAtOwn {
            // It changed since: it may be there again.
            read(into: &actions)
        } else {
            isGone = true
        }
    }

    private mutating func observeOwn(_ value: StoreValue?) {
        let seen = value.flatMap(XenbusState.init(storeValue:))
        isReborn = value == nil || (seen == .initialising && announced != .initialising)
    }

    private mutating func observeBackend(
        _ replies: StoreReplies,
        into actions: inout ActionList<Action>
    ) {
        guard let backendState else { return }
        _ = observe(replies[0].nodeValue, at: backendState, into: &actions)
        // A backend that is unplugged, or gone, does not come back.
        if replies.count > 1, replies[1].nodeValue != "1" { revival = .over }
    }
}
