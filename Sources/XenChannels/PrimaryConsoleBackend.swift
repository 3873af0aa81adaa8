// SPDX-License-Identifier: MIT

public import XenBus
import XenInterface

/// The backend of a guest's primary console, device 0, as a machine that behaves as xenconsoled does (B4 to B7).
///
/// There are no states: it watches the guest's directory `console`, binds when `ring-ref` and `port` are there, opens a pty, and tells its
/// device in `tty`. When the numbers change it binds anew and keeps the pty. A console whose `type` is another daemon's is left alone.
///
/// It speaks a channel's words, so that a world drives both alike. `.frontendChanged` is the watch that it asks for; its attachment names
/// the reserved grant, for `ring-ref` is a frame's number here (B2, B4).
public struct PrimaryConsoleBackend: Hashable, Sendable {
    /// A channel's events.
    public typealias Event = ChannelBackend.Event
    /// A channel's actions.
    public typealias Action = ChannelBackend.Action

    /// How far the backend is.
    public enum State: Hashable, Sendable, CaseIterable {
        /// Not begun.
        case idle
        /// Registers the watch on the guest's directory.
        case subscribing
        /// Nothing is attached; waits for a change.
        case waiting
        /// The world binds and maps.
        case attaching
        /// The world opens the pty.
        case opening
        /// Writes `tty`.
        case publishing
        /// Bytes may flow.
        case serving
        /// The world unbinds and unmaps.
        case detaching
        /// Removes the watch.
        case retracting
        /// Done.
        case finished
    }

    /// What the toolstack wrote about page and port.
    struct Numbers: Hashable {
        var frame: FrameNumber
        var port: EventChannelPort
        var limit: Int
    }

    package enum Look: Hashable {
        case own
        case numbers
    }

    /// Where the console stands in the store.
    public let paths: DevicePaths
    /// The token of its watch; unique among the watches of the connection.
    public let token: String
    /// How far it is.
    public package(set) var state = State.idle
    package var script: StoreScript?
    package var looking: Look?
    var mustRead = false
    var mustLookAtOwn = false
    var wantsToEnd = false
    var isOpen = false
    var isWatching = false
    /// What is attached, or is being attached.
    var numbers: Numbers?
    /// What is to be attached once the world has detached.
    var next: Numbers?
    var reports = ReportBudget()

    /// The node `type` of a console that this backend serves.
    public static let type = "xenconsoled"

    /// Makes the machine for the console at `paths`, whose device is 0; `token` is that of its watch.
    public init(paths: DevicePaths, token: String) {
        precondition(paths.device == .primaryConsole, "a channel has another machine")
        self.paths = paths
        self.token = token
    }

    /// Takes an event and asks for what follows from it.
    public mutating func handle(_ event: Event, into actions: inout ActionList<Action>) {
        guard state != .finished else { return }
        switch event {
        case .start:
            guard state == .idle else { return }
            let watch = StoreRequest.watch(paths.frontend, token: token)
            enter(.subscribing, asking: StoreStep(watch), into: &actions)
        case .reply(let reply):
            handle(reply, into: &actions)
        case .frontendChanged:
            mustRead = true
            react(into: &actions)
        case .ownChanged:
            mustLookAtOwn = true
            react(into: &actions)
        case .attached:
            guard state == .attaching else { return }
            handleAttached(into: &actions)
        case .opened(let tty):
            guard state == .opening else { return }
            isOpen = true
            publish(tty, into: &actions)
        case .detached:
            guard state == .detaching else { return }
            handleDetached(into: &actions)
        case .failed(let text):
            handleFailure(text, into: &actions)
        case .close:
            wantsToEnd = true
            react(into: &actions)
        case .timeout:
            break
        }
    }

    /// Takes an event and returns what follows from it: for tests.
    public mutating func handle(_ event: Event) -> [Action] {
        var actions = ActionList<Action>()
        handle(event, into: &actions)
        return actions.all()
    }

    // MARK: What to do next

    package mutating func react(into actions: inout ActionList<Action>) {
        guard !isRunning else { return }
        switch state {
        case .idle:
            if wantsToEnd { finish(into: &actions) }
        case .waiting, .serving:
            if wantsToEnd {
                leave(into: &actions)
            } else if mustLookAtOwn {
                mustLookAtOwn = false
                look(.own, asking: StoreStep(.read(paths.backend), tolerating: [.noEntry]), into: &actions)
            } else if mustRead {
                mustRead = false
                let reads = ["ring-ref", "port", "type", "limit"].map {
                    StoreStep(.read(paths.frontend.appending($0)), tolerating: [.noEntry, .accessDenied])
                }
                look(.numbers, running: reads, into: &actions)
            }
        case .subscribing, .attaching, .opening, .publishing, .detaching, .retracting, .finished:
            break
        }
    }

    /// Lets go of the ring, then of the pty, then of the watch.
    private mutating func leave(into actions: inout ActionList<Action>) {
        guard numbers == nil else { return detach(into: &actions) }
        if isOpen {
            isOpen = false
            actions.append(.closeEndpoint)
        }
        guard isWatching else { return finish(into: &actions) }
        let unwatch = StoreRequest.unwatch(paths.frontend, token: token)
        enter(.retracting, asking: StoreStep(unwatch, tolerating: .all), into: &actions)
    }

    mutating func finish(into actions: inout ActionList<Action>) {
        state = .finished
        actions.append(.finished)
    }

    mutating func attach(_ new: Numbers, into actions: inout ActionList<Action>) {
        numbers = new
        state = .attaching
        let attachment = ChannelAttachment(
            frontend: paths.frontendDomain,
            ring: .console,
            port: new.port,
            limit: new.limit
        )
        actions.append(.attach(attachment))
    }

    mutating func detach(into actions: inout ActionList<Action>) {
        state = .detaching
        actions.append(.detach)
    }

    private mutating func handleAttached(into actions: inout ActionList<Action>) {
        if isOpen {
            state = .serving
            react(into: &actions)
        } else {
            state = .opening
            actions.append(.open(.pty, name: nil))
        }
    }

    private mutating func handleDetached(into actions: inout ActionList<Action>) {
        numbers = nil
        state = .waiting
        let next = next
        self.next = nil
        if let next, !wantsToEnd { attach(next, into: &actions) } else { react(into: &actions) }
    }

    private mutating func handleFailure(_ text: String, into actions: inout ActionList<Action>) {
        switch state {
        case .attaching:
            report(DeviceDiagnostic(paths.frontend, .service(text)), into: &actions)
            numbers = nil
            state = .waiting
            react(into: &actions)
        case .opening:
            report(DeviceDiagnostic(paths.frontend, .service(text)), into: &actions)
            detach(into: &actions)
        case .idle, .subscribing, .waiting, .publishing, .serving, .detaching, .retracting, .finished:
            break
        }
    }

    mutating func report(
        _ diagnostic: DeviceDiagnostic,
        into actions: inout ActionList<Action>
    ) {
        if reports.admits() { actions.append(.report(diagnostic)) }
    }
}
