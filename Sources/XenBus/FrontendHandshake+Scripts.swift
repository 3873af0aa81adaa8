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
        }
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

    /// Takes back what is in the store: the watch, and the numbers unless the directory is not ours any more.
    mutating func retract(into actions: inout some ActionSink<Action> & ~Copyable) {
        stopTimer(into: &actions)
        var steps: [StoreStep] = []
        if isWatching, let backendPath {
            steps.append(StoreStep(.unwatch(backendPath.appending("state"), token: token), tolerating: [.noEntry]))
        }
        if hasFailed, !isGone, !isReborn {
            // The backend may have seen the numbers: it is told that they are void, before they are.
            let node = directory.appending("state")
            steps += [StoreStep(.read(node)), StoreStep(.write(node, XenbusState.closed.storeValue))]
        }
        if !isGone, !isReborn {
            steps += details.map { StoreStep(.remove(directory.appending($0.name)), tolerating: [.noEntry]) }
        }
        enter(.retracting, running: steps, transaction: hasFailed, into: &actions)
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
                observe(look, replies.first?.nodeValue, into: &actions)
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
            guard isPrepared || isReturning, !(isReturning && wantsToClose) else { return retract(into: &actions) }
            wait(in: .awaitingClosed)
            startTimer(into: &actions)
        case .returning:
            wait(in: .awaitingReturn)
            startTimer(into: &actions)
        case .retracting:
            isWatching = false
            release(into: &actions)
        case .idle, .refused, .comparing, .preparing, .waiting, .connected, .awaitingClosing, .awaitingClosed,
            .awaitingReturn, .releasing, .finished:
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
        if state == .retracting {
            // Whatever could not be removed stays; the page and the port are taken back all the same.
            isWatching = false
            return release(into: &actions)
        }
        if failure.code == .noEntry {
            isReborn = true
        } else {
            hasFailed = true
            wantsToClose = true
            actions.append(.report(DeviceDiagnostic(failure.request.node ?? directory, .refused(failure.code))))
        }
        abandon(into: &actions)
    }

    private mutating func observe(
        _ look: Look,
        _ value: StoreValue?,
        into actions: inout some ActionSink<Action> & ~Copyable
    ) {
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
        }
    }
}
