// SPDX-License-Identifier: MIT

import XenInterface

// What the frontend's machine reads and writes, and how it takes the answers.
extension FrontendHandshake {
    /// Reads the own directory; a change seen from here on calls for another look.
    mutating func read(into actions: inout ActionList<Action>) {
        mustLookAtOwn = false
        // The directory itself tells "not complete yet" from "gone".
        let nodes = [directory] + (["backend", "backend-id", "state"] + ownNodes).map { ownState.sibling($0) }
        enter(.reading, running: nodes.map { StoreStep(.read($0), tolerating: [.noEntry]) }, into: &actions)
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

    /// Writes the numbers of what was prepared, all or none, and none if the directory is gone: a plain write would make it anew (D16).
    mutating func publish(into actions: inout ActionList<Action>) {
        let guarding = StoreStep(.read(ownState))
        let writes = details.map { StoreStep(.write(ownState.sibling($0.name), $0.value)) }
        isPublished = true
        enter(.publishing, running: [guarding] + writes, transaction: true, into: &actions)
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
        // A directory that was made anew has no numbers: to say 3 or 4 there would leave both sides waiting for ever.
        let isOffer = announced == .initialised || announced == .connected
        let offered = isOffer ? details.map { ownState.sibling($0.name) } : []
        write(announced, to: ownState, beside: offered, entering: state, into: &actions)
    }

    /// Takes back what is in the store: the watch and the numbers.
    ///
    /// Removing makes nothing anew, so it is asked for even if the directory seems to be gone.
    mutating func retract(into actions: inout ActionList<Action>) {
        stopTimer(into: &actions)
        var steps: [StoreStep] = []
        if isPublished {
            steps += details.map { numberStep(.remove(ownState.sibling($0.name))) }
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
            say(.initialised, entering: .announcing, into: &actions)
        case .announcing:
            if isWatching { wait(in: .waiting) } else { subscribe(into: &actions) }
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
            wait(in: .awaitingClosing)
            startTimer(FrontendHandshake.closingPatience, into: &actions)
        case .closed:
            mustSayClosed = false
            isHeld = false
            guard isPublished || isReturning, !(isReturning && wantsToClose) else { return retract(into: &actions) }
            wait(in: .awaitingClosed)
            startTimer(FrontendHandshake.closingPatience, into: &actions)
        case .returning:
            revival = .none
            wait(in: .awaitingReturn)
            startTimer(FrontendHandshake.closingPatience, into: &actions)
        case .retracting:
            finishRemoving(replies, into: &actions)
        case .idle, .refused, .comparing, .preparing, .waiting, .connected, .awaitingClosing, .awaitingClosed,
            .awaitingReturn, .holding, .releasing, .finished:
            break
        }
    }

    private mutating func wait(in state: State) {
        self.state = state
        mustLook = true
    }

    private mutating func understand(
        _ replies: StoreReplies,
        into actions: inout ActionList<Action>
    ) {
        let values = replies.values
        guard values[0] != nil else {
            // Unless it changed since: then it may be there again.
            if mustLookAtOwn { read(into: &actions) } else { isGone = true }
            return
        }
        guard let path = values[1].flatMap({ StorePath($0.text) }), path.isAbsolute else {
            return refuse("backend", values[1], "an absolute path", into: &actions)
        }
        guard let number = values[2]?.decimal(UInt16.self), DomainID(number).isValid else {
            return refuse("backend-id", values[2], "a domain's number", into: &actions)
        }
        guard let own = values[3].flatMap(XenbusState.init(storeValue:)), own != .unknown else {
            return refuse("state", values[3], "a state from 1 to 8", into: &actions)
        }
        backendState = path.appending("state")
        backendDomain = DomainID(number)
        ownValues = Array(values.dropFirst(4))
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
