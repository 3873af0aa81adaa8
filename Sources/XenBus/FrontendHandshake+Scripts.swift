// SPDX-License-Identifier: MIT

import XenInterface

// What the frontend's machine reads and writes, and how it takes the answers.
extension FrontendHandshake {
    mutating func enter(
        _ state: State,
        running steps: [StoreStep],
        transaction: Bool = false,
        into actions: inout some ActionSink<Action> & ~Copyable
    ) {
        self.state = state
        run(steps, transaction: transaction, into: &actions)
    }

    private mutating func run(
        _ steps: [StoreStep],
        transaction: Bool = false,
        into actions: inout some ActionSink<Action> & ~Copyable
    ) {
        var script = StoreScript(steps, transaction: transaction)
        let progress = script.start()
        self.script = script
        follow(progress, into: &actions)
    }

    /// Reads the own directory; a change seen from here on calls for another look.
    mutating func read(into actions: inout some ActionSink<Action> & ~Copyable) {
        mustLookAtOwn = false
        // The directory itself tells "not complete yet" from "gone".
        let nodes = [directory] + (["backend", "backend-id", "state"] + ownNodes).map { directory.appending($0) }
        enter(.reading, running: nodes.map { StoreStep(.read($0), tolerating: [.noEntry]) }, into: &actions)
    }

    mutating func look(_ look: Look, into actions: inout some ActionSink<Action> & ~Copyable) {
        guard let backendPath else { return }
        looking = look
        switch look {
        case .own:
            mustLookAtOwn = false
            run([StoreStep(.read(directory.appending("state")), tolerating: [.noEntry])], into: &actions)
        case .backend:
            mustLook = false
            let read = StoreRequest.read(backendPath.appending("state"))
            run([StoreStep(read, tolerating: [.noEntry, .accessDenied])], into: &actions)
        case .numbers:
            run(details.map { numberStep(.read(directory.appending($0.name))) }, into: &actions)
        }
    }

    /// A step whose refusal is an answer as well.
    private func numberStep(_ request: StoreRequest) -> StoreStep {
        StoreStep(request, tolerating: StoreErrorCode.allCases)
    }

    /// Looks at the backend before anything is made for it.
    private mutating func compare(into actions: inout some ActionSink<Action> & ~Copyable) {
        state = .comparing
        look(.backend, into: &actions)
    }

    /// Writes the numbers of what was prepared, all or none, and none if the directory is gone: a plain write would make it anew (D16).
    mutating func publish(into actions: inout some ActionSink<Action> & ~Copyable) {
        let guarding = StoreStep(.read(directory.appending("state")))
        let writes = details.map { StoreStep(.write(directory.appending($0.name), $0.value)) }
        isPublished = true
        enter(.publishing, running: [guarding] + writes, transaction: true, into: &actions)
    }

    mutating func subscribe(into actions: inout some ActionSink<Action> & ~Copyable) {
        guard let backendPath else { return }
        let watch = StoreRequest.watch(backendPath.appending("state"), token: token)
        enter(.subscribing, running: [StoreStep(watch)], into: &actions)
    }

    /// Writes the own state, in a transaction that does nothing if the node is gone: a plain write would make it anew (B17).
    mutating func say(
        _ announced: XenbusState,
        entering state: State,
        into actions: inout some ActionSink<Action> & ~Copyable
    ) {
        self.announced = announced
        let node = directory.appending("state")
        let steps = [StoreStep(.read(node)), StoreStep(.write(node, announced.storeValue))]
        enter(state, running: steps, transaction: true, into: &actions)
    }

    /// Takes back what is in the store: the watch and the numbers.
    ///
    /// Removing makes nothing anew, so it is asked for even if the directory seems to be gone.
    mutating func retract(into actions: inout some ActionSink<Action> & ~Copyable) {
        stopTimer(into: &actions)
        var steps: [StoreStep] = []
        if isPublished {
            steps += details.map { numberStep(.remove(directory.appending($0.name))) }
        }
        if isWatching, let backendPath {
            steps.append(numberStep(.unwatch(backendPath.appending("state"), token: token)))
        }
        enter(.retracting, running: steps, into: &actions)
    }

    /// The removals are answered. Xenstored refuses that of a node that is not there where its directory is not either (D11): it is
    /// looked for.
    private mutating func finishRemoving(
        _ replies: [StoreReply],
        into actions: inout some ActionSink<Action> & ~Copyable
    ) {
        isWatching = false
        guard isPublished else { return release(into: &actions) }
        for (detail, reply) in zip(details, replies) {
            guard case .failure(let code) = reply, code != .noEntry else { continue }
            refusal = DeviceDiagnostic(directory.appending(detail.name), .notRetracted(code))
            return look(.numbers, into: &actions)
        }
        finishRetracting(into: &actions)
    }

    /// The numbers were looked for after a refusal: only what is not there can be let go.
    private mutating func finishLooking(
        _ replies: [StoreReply],
        into actions: inout some ActionSink<Action> & ~Copyable
    ) {
        let isThere = replies.contains { $0 != .failure(.noEntry) }
        guard isThere, let refusal else { return finishRetracting(into: &actions) }
        self.refusal = nil
        hold(refusal, into: &actions)
    }

    private mutating func finishRetracting(into actions: inout some ActionSink<Action> & ~Copyable) {
        refusal = nil
        isHeld = false
        isPublished = false
        release(into: &actions)
    }

    mutating func follow(
        _ progress: StoreScript.Progress,
        into actions: inout some ActionSink<Action> & ~Copyable
    ) {
        switch progress {
        case .perform(let request, let transaction):
            actions.append(.store(request, in: transaction))
        case .finished(let replies):
            script = nil
            if state == .subscribing { isWatching = true }
            let look = looking
            looking = nil
            if isGone, state != .retracting { return abandon(into: &actions) }
            if let look {
                observe(look, replies, into: &actions)
            } else {
                finishStep(replies, into: &actions)
            }
            react(into: &actions)
        case .failed(let failure):
            script = nil
            looking = nil
            handleFailure(failure, into: &actions)
        }
    }

    private mutating func finishStep(
        _ replies: [StoreReply],
        into actions: inout some ActionSink<Action> & ~Copyable
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
        case .confirming:
            state = .connected
            actions.append(.connected)
        case .closing:
            wait(in: .awaitingClosing)
            startTimer(into: &actions)
        case .closed:
            mustSayClosed = false
            isHeld = false
            guard isPublished || isReturning, !(isReturning && wantsToClose) else { return retract(into: &actions) }
            wait(in: .awaitingClosed)
            startTimer(into: &actions)
        case .returning:
            wait(in: .awaitingReturn)
            startTimer(into: &actions)
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
        _ replies: [StoreReply],
        into actions: inout some ActionSink<Action> & ~Copyable
    ) {
        let values = replies.map(\.nodeValue)
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
        backendPath = path
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
        into actions: inout some ActionSink<Action> & ~Copyable
    ) {
        if let value {
            // What is missing may still be on its way: the change will be seen.
            actions.append(.report(DeviceDiagnostic(directory.appending(node), .unexpected(value, wanted: wanted))))
        }
        state = .refused
    }

    private mutating func handleFailure(
        _ failure: StoreFailure,
        into actions: inout some ActionSink<Action> & ~Copyable
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

    private mutating func observe(
        _ look: Look,
        _ replies: [StoreReply],
        into actions: inout some ActionSink<Action> & ~Copyable
    ) {
        let value = replies.first?.nodeValue
        let seen = value.flatMap(XenbusState.init(storeValue:))
        switch look {
        case .own:
            isReborn = value == nil || (seen == .initialising && announced != .initialising)
        case .backend:
            if let value, seen == nil, let node = backendPath?.appending("state") {
                let problem = DeviceDiagnostic.Problem.unexpected(value, wanted: "a state from 0 to 8")
                actions.append(.report(DeviceDiagnostic(node, problem)))
            } else {
                observed = seen
            }
        case .numbers:
            finishLooking(replies, into: &actions)
        }
    }
}
