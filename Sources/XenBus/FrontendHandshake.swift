// SPDX-License-Identifier: MIT

public import XenInterface

/// What a frontend publishes for its backend: a node of its directory, `ring-ref` or `port`.
public struct DeviceDetail: Hashable, Sendable {
    /// The node's name within the directory.
    public let name: String
    /// The node's value.
    public let value: StoreValue

    /// Names a node and its value.
    public init(_ name: String, _ value: StoreValue) {
        self.name = name
        self.value = value
    }
}

/// The guest's side of bringing a device up and down through the store, as a machine (B14 to B21, B33, R5, R6).
///
/// ```text
/// frontend                                    backend
/// 1 read backend, backend-id                  1 → 2
/// 1 publish ring-ref, port (one transaction)
/// 3 (a transaction of its own), watch         4
/// 4 connected
///   …
/// 5 (unless the backend closed first)         5
/// 6, retract, release                         6
/// ```
///
/// It decides by what the backend's `state` is when it looks, never by counting changes: watch events are merged, repeated, and
/// fire once at registration (B35).
public struct FrontendHandshake: Hashable, Sendable {
    /// What happens to the machine.
    public enum Event: Hashable, Sendable {
        /// The device's directory was found. The first event, once.
        case start
        /// The store's reply to the last `.store` action.
        case reply(StoreReply)
        /// The watch on the backend's state fired.
        case backendChanged
        /// `.prepare` was carried out: these nodes are to be published.
        case prepared([DeviceDetail])
        /// `.prepare` could not be carried out.
        case failed(String)
        /// The guest wants to close the device.
        case close
        /// The device's own directory is gone.
        case removed
        /// `.release` was carried out, or is deferred and accounted for.
        case released
        /// The timer ran out.
        case timeout
    }

    /// What the machine asks of the world.
    public enum Action: Hashable, Sendable {
        /// Send a request; its reply is an event. Never more than one at a time.
        case store(StoreRequest, in: StoreTransactionID)
        /// Zero a page, grant it to the backend, and allocate a port for it. The values are those of `ownNodes`, nil where
        /// there was none.
        case prepare(backend: DomainID, [StoreValue?])
        /// Both sides are connected: bytes may flow.
        case connected
        /// No more bytes.
        case disconnected
        /// End the grant, or defer that if the page is still mapped, and close the port.
        case release
        /// Send `.timeout` after this time, unless stopped or started anew.
        case startTimer(Duration)
        /// Forget the timer.
        case stopTimer
        /// Tell the owner.
        case report(DeviceDiagnostic)
        /// The machine is done.
        case finished
    }

    /// How far the frontend is.
    public enum State: Hashable, Sendable, CaseIterable {
        /// Not begun.
        case idle
        /// Reads what the toolstack wrote.
        case reading
        /// The world makes the page and the port.
        case preparing
        /// Writes their numbers.
        case publishing
        /// Writes state 3.
        case announcing
        /// Registers the watch on the backend's state.
        case subscribing
        /// Waits for the backend to be at 4.
        case waiting
        /// Writes state 4.
        case confirming
        /// Bytes may flow.
        case connected
        /// Writes state 5.
        case closing
        /// Waits for the backend to be at 5 or more.
        case awaitingClosing
        /// Writes state 6.
        case closed
        /// Waits for the backend to be at 6.
        case awaitingClosed
        /// Removes its numbers and the watch.
        case retracting
        /// The world takes the page and the port back.
        case releasing
        /// Done.
        case finished
    }

    /// The guest's directory of the device.
    public let directory: StorePath
    /// Names of the own nodes whose values `.prepare` carries.
    public let ownNodes: [String]
    /// The token of its watch; unique among the watches of the connection.
    public let token: String
    /// How far it is.
    public private(set) var state = State.idle
    /// How long the backend may take to follow a step of closing.
    public static let closingPatience = Duration.seconds(5)

    private var backendPath: StorePath?
    private var details: [DeviceDetail] = []
    private var script: StoreScript?
    private var isLooking = false
    private var mustLook = false
    private var wantsToClose = false
    private var isPrepared = false
    private var isWatching = false
    private var isGone = false
    private var observed = XenbusState.unknown

    /// Makes the machine for the device whose guest directory is `directory`.
    public init(directory: StorePath, ownNodes: [String] = [], token: String) {
        self.directory = directory
        self.ownNodes = ownNodes
        self.token = token
    }

    /// Takes an event and asks for what follows from it.
    public mutating func handle(_ event: Event, into actions: inout some ActionSink<Action> & ~Copyable) {
        switch event {
        case .start:
            precondition(state == .idle, "a handshake starts once")
            let nodes = ["backend", "backend-id", "state"] + ownNodes
            let reads = nodes.map { StoreStep(.read(directory.appending($0)), tolerating: [.noEntry]) }
            enter(.reading, running: reads, into: &actions)
        case .reply(let reply):
            guard let progress = script?.handle(reply) else { return }
            follow(progress, into: &actions)
        case .backendChanged:
            mustLook = true
            react(into: &actions)
        case .prepared(let details):
            guard state == .preparing else { return }
            self.details = details
            isPrepared = true
            if isGone { return abandon(into: &actions) }
            let writes = details.map { StoreStep(.write(directory.appending($0.name), $0.value)) }
            enter(.publishing, running: writes, transaction: true, into: &actions)
        case .failed(let text):
            guard state == .preparing else { return }
            actions.append(.report(DeviceDiagnostic(directory, .service(text))))
            if isGone { return abandon(into: &actions) }
            say(.closed, entering: .closed, into: &actions)
        case .close:
            wantsToClose = true
            react(into: &actions)
        case .removed:
            isGone = true
            // A script in flight runs to its end first, so that no transaction stays open.
            if script == nil, state != .preparing { abandon(into: &actions) }
        case .released:
            guard state == .releasing else { return }
            state = .finished
            actions.append(.finished)
        case .timeout:
            handleTimeout(into: &actions)
        }
    }

    /// Takes an event and returns what follows from it: for tests.
    public mutating func handle(_ event: Event) -> [Action] {
        var actions: [Action] = []
        handle(event, into: &actions)
        return actions
    }
}

// MARK: - Scripts

extension FrontendHandshake {
    private mutating func enter(
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

    /// Writes the own state, in a transaction that does nothing if the node is gone: a plain write would make it anew (B17).
    private mutating func say(
        _ announced: XenbusState,
        entering state: State,
        into actions: inout some ActionSink<Action> & ~Copyable
    ) {
        let node = directory.appending("state")
        let steps = [StoreStep(.read(node)), StoreStep(.write(node, announced.storeValue))]
        enter(state, running: steps, transaction: true, into: &actions)
    }

    private mutating func follow(
        _ progress: StoreScript.Progress,
        into actions: inout some ActionSink<Action> & ~Copyable
    ) {
        switch progress {
        case .perform(let request, let transaction):
            actions.append(.store(request, in: transaction))
        case .finished(let replies):
            script = nil
            if state == .subscribing { isWatching = true }
            if isGone, state != .retracting { return abandon(into: &actions) }
            if isLooking {
                isLooking = false
                observe(replies, into: &actions)
            } else {
                finishStep(replies, into: &actions)
            }
            react(into: &actions)
        case .failed(let failure):
            script = nil
            isLooking = false
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
            guard let backendPath else { return }
            let watch = StoreRequest.watch(backendPath.appending("state"), token: token)
            enter(.subscribing, running: [StoreStep(watch)], into: &actions)
        case .subscribing:
            state = .waiting
        case .confirming:
            state = .connected
            actions.append(.connected)
        case .closing:
            state = .awaitingClosing
            mustLook = true
            actions.append(.startTimer(FrontendHandshake.closingPatience))
        case .closed:
            guard isPrepared else { return release(into: &actions) }
            state = .awaitingClosed
            mustLook = true
            actions.append(.startTimer(FrontendHandshake.closingPatience))
        case .retracting:
            release(into: &actions)
        case .idle, .preparing, .waiting, .connected, .awaitingClosing, .awaitingClosed, .releasing, .finished:
            break
        }
    }

    private mutating func understand(
        _ replies: [StoreReply],
        into actions: inout some ActionSink<Action> & ~Copyable
    ) {
        let values = replies.map(\.nodeValue)
        guard let path = values[0].flatMap({ StorePath($0.text) }), path.isAbsolute else {
            return refuse("backend", values[0], "an absolute path", into: &actions)
        }
        guard let number = values[1]?.decimal(UInt16.self), DomainID(number).isValid else {
            return refuse("backend-id", values[1], "a domain's number", into: &actions)
        }
        guard values[2].flatMap(XenbusState.init(storeValue:)) == .initialising else {
            return refuse("state", values[2], "1 (initialising)", into: &actions)
        }
        backendPath = path
        state = .preparing
        actions.append(.prepare(backend: DomainID(number), Array(values.dropFirst(3))))
    }

    private mutating func refuse(
        _ node: String,
        _ value: StoreValue?,
        _ wanted: String,
        into actions: inout some ActionSink<Action> & ~Copyable
    ) {
        let problem = value.map { DeviceDiagnostic.Problem.unexpected($0, wanted: wanted) } ?? .missing
        actions.append(.report(DeviceDiagnostic(directory.appending(node), problem)))
        state = .finished
        actions.append(.finished)
    }

    private mutating func handleFailure(
        _ failure: StoreFailure,
        into actions: inout some ActionSink<Action> & ~Copyable
    ) {
        if case .retracting = state {
            // Whatever could not be removed stays; the page and the port are taken back all the same.
            return release(into: &actions)
        }
        if failure.code != .noEntry {
            actions.append(.report(DeviceDiagnostic(failure.request.node ?? directory, .refused(failure.code))))
        }
        abandon(into: &actions)
    }
}

// MARK: - Reactions

extension FrontendHandshake {
    private mutating func observe(
        _ replies: [StoreReply],
        into actions: inout some ActionSink<Action> & ~Copyable
    ) {
        guard let value = replies.first?.nodeValue else {
            observed = .unknown
            return
        }
        guard let seen = XenbusState(storeValue: value) else {
            if let node = backendPath?.appending("state") {
                actions.append(.report(DeviceDiagnostic(node, .unexpected(value, wanted: "a state from 0 to 8"))))
            }
            return
        }
        observed = seen
    }

    /// Does what the backend's state and the own wishes call for, if nothing is in flight.
    private mutating func react(into actions: inout some ActionSink<Action> & ~Copyable) {
        guard script == nil else { return }
        let leaving = observed == .closing || observed == .closed
        switch state {
        case .waiting, .connected, .awaitingClosing, .awaitingClosed:
            if mustLook {
                look(into: &actions)
            } else if state == .waiting {
                if wantsToClose || leaving {
                    beginClosing(into: &actions)
                } else if observed == .connected {
                    say(.connected, entering: .confirming, into: &actions)
                }
            } else if state == .connected {
                if wantsToClose || leaving || observed == .unknown { beginClosing(into: &actions) }
            } else if state == .awaitingClosing {
                if leaving || observed == .unknown { say(.closed, entering: .closed, into: &actions) }
            } else if observed == .closed || observed == .unknown {
                retract(into: &actions)
            }
        case .idle:
            if wantsToClose {
                state = .finished
                actions.append(.finished)
            }
        case .reading, .preparing, .publishing, .announcing, .subscribing, .confirming, .closing, .closed,
            .retracting, .releasing, .finished:
            break
        }
    }

    private mutating func look(into actions: inout some ActionSink<Action> & ~Copyable) {
        guard let backendPath else { return }
        mustLook = false
        isLooking = true
        run(
            [StoreStep(.read(backendPath.appending("state")), tolerating: [.noEntry, .accessDenied])],
            into: &actions
        )
    }

    private mutating func beginClosing(into actions: inout some ActionSink<Action> & ~Copyable) {
        if state == .connected {
            actions.append(.disconnected)
        }
        if observed == .closing || observed == .closed || observed == .unknown {
            // The backend closed first: straight to 6, as Linux does (R6).
            say(.closed, entering: .closed, into: &actions)
        } else {
            say(.closing, entering: .closing, into: &actions)
        }
    }

    private mutating func retract(into actions: inout some ActionSink<Action> & ~Copyable) {
        actions.append(.stopTimer)
        var steps: [StoreStep] = []
        if isWatching, let backendPath {
            steps.append(StoreStep(.unwatch(backendPath.appending("state"), token: token), tolerating: [.noEntry]))
        }
        if !isGone {
            steps += details.map { StoreStep(.remove(directory.appending($0.name)), tolerating: [.noEntry]) }
        }
        enter(.retracting, running: steps, into: &actions)
    }

    /// Gives up without another state: the directory is gone, or the store refuses.
    private mutating func abandon(into actions: inout some ActionSink<Action> & ~Copyable) {
        switch state {
        case .retracting, .releasing, .finished:
            return
        case .connected:
            actions.append(.disconnected)
        case .idle, .reading, .preparing, .publishing, .announcing, .subscribing, .waiting, .confirming, .closing,
            .awaitingClosing, .closed, .awaitingClosed:
            break
        }
        isLooking = false
        retract(into: &actions)
    }

    private mutating func release(into actions: inout some ActionSink<Action> & ~Copyable) {
        guard isPrepared else {
            state = .finished
            actions.append(.finished)
            return
        }
        state = .releasing
        actions.append(.release)
    }

    private mutating func handleTimeout(into actions: inout some ActionSink<Action> & ~Copyable) {
        guard let node = backendPath?.appending("state") else { return }
        if state == .awaitingClosing {
            actions.append(.report(DeviceDiagnostic(node, .noAnswer(to: .closing))))
            say(.closed, entering: .closed, into: &actions)
        } else if state == .awaitingClosed {
            actions.append(.report(DeviceDiagnostic(node, .noAnswer(to: .closed))))
            retract(into: &actions)
        }
    }
}
