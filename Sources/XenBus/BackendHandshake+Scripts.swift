// SPDX-License-Identifier: MIT

import XenInterface

// What the backend's machine reads and writes, and how it takes the answers.
extension BackendHandshake {
    /// Reads the own directory; a change seen from here on calls for another look.
    mutating func read(into actions: inout ActionList<Action>) {
        (mustLookAtOwn, mustLookAtOnline) = (false, false)
        let names = ["frontend", "frontend-id", "online", "state"] + backendNodes
        // The directory itself tells "not complete yet" from "gone".
        let nodes = [paths.backend] + names.map { ownState.sibling($0) }
        enter(.reading, running: nodes.map { StoreStep(.read($0), tolerating: [.noEntry]) }, into: &actions)
    }

    mutating func lookAtOwn(into actions: inout ActionList<Action>) {
        let mustLookAtOnline = mustLookAtOnline
        (mustLookAtOwn, self.mustLookAtOnline) = (false, false)
        let read = StoreStep(.read(ownState), tolerating: [.noEntry])
        guard mustLookAtOnline else { return look(.own, asking: read, into: &actions) }
        let online = StoreStep(.read(ownState.sibling("online")), tolerating: [.noEntry])
        look(.own, running: [read, online], into: &actions)
    }

    mutating func lookAtFrontend(into actions: inout ActionList<Action>) {
        mustLookAtFrontend = false
        let read = StoreRequest.read(frontendState)
        look(.frontend, asking: StoreStep(read, tolerating: [.noEntry, .accessDenied]), into: &actions)
    }

    /// Reads what the frontend published, to attach to it in a transaction: a guest that changes its numbers meanwhile gets none of them mixed
    /// with others. To see whether they are those it is attached to needs none: after the last change they are read once more.
    mutating func fetch(entering state: State, into actions: inout ActionList<Action>) {
        hasNews = false
        mustReattach = false
        let reads = frontendNodes.map {
            StoreStep(.read(frontendState.sibling($0)), tolerating: [.noEntry, .accessDenied])
        }
        enter(state, running: reads, transaction: state == .fetching, into: &actions)
    }

    mutating func say(
        _ announced: XenbusState,
        entering state: State,
        into actions: inout ActionList<Action>
    ) {
        self.announced = announced
        found = announced
        write(announced, to: ownState, entering: state, into: &actions)
    }

    /// Tells in the frontend's directory what was opened, if that exists: a plain write would make it anew (D16).
    mutating func publish(_ details: [DeviceDetail], into actions: inout ActionList<Action>) {
        guard !details.isEmpty else { return announce(into: &actions) }
        let guarding = StoreStep(.read(frontendState))
        let writes = details.map { StoreStep(.write(frontendState.sibling($0.name), $0.value)) }
        enter(.publishing, running: [guarding] + writes, transaction: true, keepingReplies: false, into: &actions)
    }

    private mutating func announce(into actions: inout ActionList<Action>) {
        announced = .initWait
        found = .initWait
        let steps = [
            StoreStep(.read(ownState)),
            StoreStep(.write(ownState.sibling("hotplug-status"), "connected")),
            StoreStep(.write(ownState, XenbusState.initWait.storeValue)),
        ]
        enter(.announcing, running: steps, transaction: true, keepingReplies: false, into: &actions)
    }

    package mutating func finish(
        _ look: Look?,
        _ replies: StoreReplies,
        into actions: inout ActionList<Action>
    ) {
        switch look {
        case nil:
            finishStep(replies, into: &actions)
        case .own:
            observeOwn(replies)
        case .frontend:
            guard observe(replies[0].nodeValue, at: frontendState, into: &actions) else { return }
            hasNews = true
            if isFrontendAway { hasFrontendLeft = true }
        }
    }

    private mutating func finishStep(
        _ replies: StoreReplies,
        into actions: inout ActionList<Action>
    ) {
        switch state {
        case .reading:
            understand(replies.values, into: &actions)
        case .publishing:
            announce(into: &actions)
        case .announcing:
            let watch = StoreRequest.watch(frontendState, token: token)
            enter(.subscribing, asking: StoreStep(watch), into: &actions)
        case .subscribing:
            isWatching = true
            wait(in: .waiting)
        case .fetching:
            attached = replies.values
            hasFrontendLeft = false
            state = .connecting
            actions.append(.connect(attached))
        case .confirming:
            state = .connected
        case .rechecking:
            state = .connected
            mustReattach = replies.values != attached
            if mustReattach { disconnect(into: &actions) }
        case .closing:
            awaitClosed(into: &actions)
        case .confirmingClosed:
            guard isRealised else {
                // Unplugged before anything was opened.
                state = .refused
                return
            }
            wait(in: .closed, while: .closed)
        case .returning:
            wait(in: .waiting, while: .initialising)
        case .retracting:
            rest(into: &actions)
        case .idle, .refused, .realising, .waiting, .connecting, .connected, .awaitingClosed, .disconnecting, .closed,
            .finished:
            break
        }
    }

    /// Waits for the frontend to leave `current`. Where it was seen last: whatever it did since fires the watch. Anywhere else it is looked at
    /// before anything is concluded.
    mutating func wait(in state: State, while current: XenbusState? = nil) {
        self.state = state
        if current == nil || observed != current { mustLookAtFrontend = true }
    }

    /// Checks what the toolstack wrote against where the directory was found.
    private mutating func understand(
        _ values: [StoreValue?],
        into actions: inout ActionList<Action>
    ) {
        guard values[0] != nil else {
            // Unless it changed since: then it may be there again.
            if mustLookAtOwn { read(into: &actions) } else { isGone = true }
            return
        }
        if values[3] == "0" { return unplug(values[4], into: &actions) }
        let expected: [(node: String, value: StoreValue)] = [
            ("frontend", StoreValue(paths.frontend.text)),
            ("frontend-id", StoreValue(decimal: paths.frontendDomain.rawValue)),
            ("online", "1"),
        ]
        for (found, (node, wanted)) in zip(values.dropFirst(), expected) where found != wanted {
            return refuse(node, found, wanted: wanted.text, into: &actions)
        }
        guard let own = values[4].flatMap(XenbusState.init(storeValue:)) else {
            return refuse("state", values[4], wanted: "a state from 0 to 8", into: &actions)
        }
        found = own
        isOnline = true
        state = .realising
        actions.append(.realise(Array(values.dropFirst(5))))
    }

    /// Unplugged while nothing is open: only the answer, state 6, is missing (B24).
    private mutating func unplug(
        _ own: StoreValue?,
        into actions: inout ActionList<Action>
    ) {
        if own == nil || own == XenbusState.closed.storeValue {
            state = .refused
        } else {
            say(.closed, entering: .confirmingClosed, into: &actions)
        }
    }

    private mutating func refuse(
        _ node: String,
        _ value: StoreValue?,
        wanted: String,
        into actions: inout ActionList<Action>
    ) {
        if let value {
            // What is missing may still be on its way: the change will be seen (B34).
            let node = ownState.sibling(node)
            actions.append(.report(DeviceDiagnostic(node, .unexpected(value, wanted: wanted))))
        }
        state = .refused
    }

    private mutating func observeOwn(_ replies: StoreReplies) {
        let value = replies[0].nodeValue
        if replies.count > 1 { isOnline = replies[1].nodeValue == "1" }
        found = value.flatMap(XenbusState.init(storeValue:))
        isReborn = value == nil || found == .initialising
    }

    package mutating func handleFailure(
        _ failure: StoreFailure,
        into actions: inout ActionList<Action>
    ) {
        switch state {
        case .publishing:
            // The guest's directory is not there, or not to be written to; it is the guest's loss, and may come yet.
            let problem = failure.code == .noEntry ? DeviceDiagnostic.Problem.missing : .refused(failure.code)
            reportPeer(DeviceDiagnostic(paths.frontend, problem), into: &actions)
            return announce(into: &actions)
        case .retracting:
            return rest(into: &actions)
        case .idle, .reading, .refused, .realising, .announcing, .subscribing, .waiting, .fetching, .connecting,
            .confirming, .connected, .rechecking, .closing, .awaitingClosed, .disconnecting, .confirmingClosed,
            .closed, .returning, .finished:
            break
        }
        // The own directory is gone, or the store will not have it: nothing more is written.
        if failure.code == .noEntry {
            isReborn = true
        } else {
            isGone = true
            actions.append(.report(DeviceDiagnostic(failure.request.node ?? paths.backend, .refused(failure.code))))
        }
        leave(into: &actions)
    }
}
