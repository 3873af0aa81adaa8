// SPDX-License-Identifier: MIT

import XenInterface

// What the backend's machine reads and writes, and how it takes the answers.
extension BackendHandshake {
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
        let nodes = ["frontend", "frontend-id", "online", "state"] + backendNodes
        let reads = nodes.map { StoreStep(.read(paths.backend.appending($0)), tolerating: [.noEntry]) }
        enter(.reading, running: reads, into: &actions)
    }

    mutating func look(_ look: Look, into actions: inout some ActionSink<Action> & ~Copyable) {
        looking = look
        switch look {
        case .own:
            mustLookAtOwn = false
            let reads = ["state", "online"].map {
                StoreStep(.read(paths.backend.appending($0)), tolerating: [.noEntry])
            }
            run(reads, into: &actions)
        case .frontend:
            mustLookAtFrontend = false
            let read = StoreRequest.read(paths.frontend.appending("state"))
            run([StoreStep(read, tolerating: [.noEntry, .accessDenied])], into: &actions)
        }
    }

    mutating func fetch(into actions: inout some ActionSink<Action> & ~Copyable) {
        let reads = frontendNodes.map {
            StoreStep(.read(paths.frontend.appending($0)), tolerating: [.noEntry, .accessDenied])
        }
        enter(.fetching, running: reads, into: &actions)
    }

    /// Writes the own state, in a transaction that does nothing if the node is gone: a plain write would make it anew.
    mutating func say(
        _ announced: XenbusState,
        entering state: State,
        into actions: inout some ActionSink<Action> & ~Copyable
    ) {
        self.announced = announced
        let node = paths.backend.appending("state")
        let steps = [StoreStep(.read(node)), StoreStep(.write(node, announced.storeValue))]
        enter(state, running: steps, transaction: true, into: &actions)
    }

    /// Tells in the frontend's directory what was opened, if that exists: a plain write would make it anew (D16).
    mutating func publish(_ details: [DeviceDetail], into actions: inout some ActionSink<Action> & ~Copyable) {
        guard !details.isEmpty else { return announce(into: &actions) }
        let guarding = StoreStep(.read(paths.frontend.appending("state")))
        let writes = details.map { StoreStep(.write(paths.frontend.appending($0.name), $0.value)) }
        enter(.publishing, running: [guarding] + writes, transaction: true, into: &actions)
    }

    private mutating func announce(into actions: inout some ActionSink<Action> & ~Copyable) {
        announced = .initWait
        let own = paths.backend.appending("state")
        let steps = [
            StoreStep(.read(own)),
            StoreStep(.write(paths.backend.appending("hotplug-status"), "connected")),
            StoreStep(.write(own, XenbusState.initWait.storeValue)),
        ]
        enter(.announcing, running: steps, transaction: true, into: &actions)
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
            let values = replies.map(\.nodeValue)
            if let look = looking {
                looking = nil
                observe(look, values, into: &actions)
            } else {
                finishStep(values, into: &actions)
            }
            react(into: &actions)
        case .failed(let failure):
            script = nil
            looking = nil
            handleFailure(failure, into: &actions)
        }
    }

    private mutating func finishStep(
        _ values: [StoreValue?],
        into actions: inout some ActionSink<Action> & ~Copyable
    ) {
        switch state {
        case .reading:
            understand(values, into: &actions)
        case .publishing:
            announce(into: &actions)
        case .announcing:
            let watch = StoreRequest.watch(paths.frontend.appending("state"), token: token)
            enter(.subscribing, running: [StoreStep(watch)], into: &actions)
        case .subscribing:
            isWatching = true
            state = .waiting
            mustLookAtFrontend = true
        case .fetching:
            state = .connecting
            actions.append(.connect(values))
        case .confirming:
            state = .connected
        case .closing:
            awaitClosed(into: &actions)
        case .confirmingClosed:
            state = .closed
            mustLookAtFrontend = true
            mustLookAtOwn = true
        case .returning:
            state = .waiting
            mustLookAtFrontend = true
        case .retracting:
            finish(into: &actions)
        case .idle, .refused, .realising, .waiting, .connecting, .connected, .awaitingClosed, .disconnecting, .closed,
            .finished:
            break
        }
    }

    /// Checks what the toolstack wrote against where the directory was found.
    private mutating func understand(
        _ values: [StoreValue?],
        into actions: inout some ActionSink<Action> & ~Copyable
    ) {
        let expected: [(node: String, value: StoreValue)] = [
            ("frontend", StoreValue(paths.frontend.text)),
            ("frontend-id", StoreValue(decimal: paths.frontendDomain.rawValue)),
            ("online", "1"),
        ]
        for (found, (node, wanted)) in zip(values, expected) where found != wanted {
            let problem = found.map { DeviceDiagnostic.Problem.unexpected($0, wanted: wanted.text) } ?? .missing
            return refuse(DeviceDiagnostic(paths.backend.appending(node), problem), into: &actions)
        }
        guard values[3].flatMap(XenbusState.init(storeValue:)) != nil else {
            let problem = values[3].map { DeviceDiagnostic.Problem.unexpected($0, wanted: "a state") } ?? .missing
            return refuse(DeviceDiagnostic(paths.backend.appending("state"), problem), into: &actions)
        }
        state = .realising
        actions.append(.realise(Array(values.dropFirst(4))))
    }

    private mutating func refuse(
        _ diagnostic: DeviceDiagnostic,
        into actions: inout some ActionSink<Action> & ~Copyable
    ) {
        if diagnostic.problem != .missing {
            // What is missing may still be on its way: the change will be seen (B34).
            actions.append(.report(diagnostic))
        }
        state = .refused
    }

    private mutating func observe(
        _ look: Look,
        _ values: [StoreValue?],
        into actions: inout some ActionSink<Action> & ~Copyable
    ) {
        switch look {
        case .own:
            observeOwn(state: values[0], online: values[1])
        case .frontend:
            guard let value = values[0] else {
                observed = .unknown
                return
            }
            guard let seen = XenbusState(storeValue: value) else {
                let node = paths.frontend.appending("state")
                actions.append(.report(DeviceDiagnostic(node, .unexpected(value, wanted: "a state from 0 to 8"))))
                return
            }
            observed = seen
        }
    }

    private mutating func observeOwn(state value: StoreValue?, online: StoreValue?) {
        guard let value else {
            isGone = true
            return
        }
        isOnline = online == "1"
        isUnplugged =
            XenbusState(storeValue: value) == .closing && (announced == .initWait || announced == .connected)
    }

    private mutating func handleFailure(
        _ failure: StoreFailure,
        into actions: inout some ActionSink<Action> & ~Copyable
    ) {
        if state == .publishing, failure.code == .noEntry {
            // The guest's directory is not there; it is the guest's loss, and may come yet.
            actions.append(.report(DeviceDiagnostic(paths.frontend, .missing)))
            return announce(into: &actions)
        }
        if failure.code != .noEntry {
            actions.append(.report(DeviceDiagnostic(failure.request.node ?? paths.backend, .refused(failure.code))))
        }
        if state == .retracting { return finish(into: &actions) }
        // The own directory is gone, or the store will not have it: nothing more is written.
        isGone = true
        leave(into: &actions)
    }
}
