// SPDX-License-Identifier: MIT

import XenBus
import XenChannels
import XenExploration
import XenHypervisor
import XenInterface
import XenStore

/// What can happen next in a `ChannelWorld`.
enum WorldStep: Hashable, CaseIterable {
    /// The guest's machine gets the reply to its request.
    case guestRequest
    /// The guest's scanner gets the reply to its request.
    case guestScan
    /// The guest takes a watch event.
    case guestEvent
    /// The guest does what its machine asked for.
    case guestTask
    case daemonRequest
    case daemonScan
    case daemonEvent
    case daemonTask
    /// The next thing of the story happens.
    case story
    case guestTimer
    case daemonTimer
}

/// What happens to a channel from outside of the two machines.
enum StoryEvent: Hashable, CaseIterable {
    /// The toolstack makes the device, or makes it anew in one transaction (B12).
    case plug
    /// The toolstack asks the backend to go: online 0, state 5 (B24).
    case unplug
    /// The toolstack removes all nodes of the device, without a walk through the states (R7).
    case remove
    /// The agent in the guest ends.
    case closeFrontend
    /// The guest dies without a word and boots again; its grants end when nobody maps them.
    case rebootGuest
    /// The guest's kernel, connected, publishes another page and port, as one that was resumed does (B16); nothing if it is not connected.
    case republish
    /// The daemon is asked to stop.
    case stopDaemon
    /// The daemon is killed, and started again.
    case restartDaemon
    /// The daemon is started, if none runs.
    case startDaemon
    /// Nothing, but only once both sides have come to rest, timers apart.
    case settle
}

/// A guest with one channel and a daemon that serves it, over the fakes, as a value: who goes next is decided outside.
struct ChannelWorld {
    static let guestDomain = DomainID(1)
    static let device = DeviceID(1)
    static let paths = DevicePaths(frontend: guestDomain, backend: .dom0, device: device)

    var server = StoreServer()
    var hypervisor = Hypervisor()
    var toolstack: StoreConnectionID
    var guest: GuestSide
    var daemon: DaemonSide?
    var story: ArraySlice<StoryEvent>
    /// Grants of the guest that could not be ended yet (F5).
    var deferred: [GrantReference] = []
    var isPlugged = false
    /// What the nodes `state` held before the last step.
    var states = StatePair()
    let grain: Grain
    var trace: [String]?
    /// Nodes that the guest and the daemon wrote or removed, with the values, in their order.
    var writes: [String] = []
    var recordsWrites = true

    /// What a step is.
    enum Grain: Hashable {
        /// One request, one event, one task.
        case finest
        /// As `finest`, but a transaction, or reads that nobody can tell apart, are one step: see `ChannelWorld+Reduction.swift`.
        case exact
        /// As `exact`, with what a scanner lists and a side makes for itself at once, and one wake-up for all events of a kind.
        case coarse
    }

    struct StatePair: Hashable {
        var frontend: StoreValue?
        var backend: StoreValue?
    }

    /// Makes the guest and starts both sides; there is no channel yet.
    init(story: [StoryEvent], grain: Grain) throws(PropertyViolation) {
        self.story = story[...]
        self.grain = grain
        toolstack = server.connect(as: .dom0)
        guest = GuestSide(StoreClient(id: toolstack), domain: ChannelWorld.guestDomain)
        do {
            try hypervisor.createDomain(ChannelWorld.guestDomain)
        } catch {
            throw PropertyViolation("\(error)")
        }
        let skeleton = DomainSkeleton(
            domain: ChannelWorld.guestDomain,
            name: "guest",
            uuid: "04646222-b09c-4bb2-9fe4-c2873075e5e7"
        )
        transact(skeleton.creation)
        _ = asToolstack(skeleton.introduction(storePort: EventChannelPort(1), storeFrame: FrameNumber(1)))
        bootGuest()
        startDaemon()
    }

    // MARK: Steps

    /// What could happen now, timers apart.
    var enabled: [WorldStep] {
        var steps: [WorldStep] = []
        if guest.request != nil { steps.append(.guestRequest) }
        if guest.scannerRequest != nil { steps.append(.guestScan) }
        if !guest.client.inbox.isEmpty { steps.append(.guestEvent) }
        if !guest.tasks.isEmpty { steps.append(.guestTask) }
        if let daemon {
            if daemon.request != nil { steps.append(.daemonRequest) }
            if daemon.scannerRequest != nil { steps.append(.daemonScan) }
            if !daemon.client.inbox.isEmpty { steps.append(.daemonEvent) }
            if !daemon.tasks.isEmpty { steps.append(.daemonTask) }
        }
        if let next = story.first, next != .settle || steps.isEmpty { steps.append(.story) }
        return steps
    }

    /// The timers that run.
    var timers: [WorldStep] {
        (guest.hasTimer ? [.guestTimer] : []) + (daemon?.hasTimer ?? false ? [.daemonTimer] : [])
    }

    /// Lets one thing happen, and checks what always holds.
    mutating func take(_ step: WorldStep) throws(PropertyViolation) {
        let before = daemon?.machine?.state
        switch step {
        case .guestRequest, .guestScan, .guestEvent, .guestTask, .guestTimer: stepGuest(step)
        case .daemonRequest, .daemonScan, .daemonEvent, .daemonTask, .daemonTimer: stepDaemon(step)
        case .story:
            if let event = story.popFirst() { happen(event) }
        }
        if isCoarse { followAtOnce() }
        if trace != nil { note("\(step)") }
        try checkStep(step, backendWas: before)
    }

    mutating func followAtOnce() {
        while true {
            if guest.scannerRequest != nil {
                stepGuest(.guestScan)
            } else if let task = guest.tasks.first, isPrivate(task) {
                stepGuest(.guestTask)
            } else if daemon?.scannerRequest != nil {
                stepDaemon(.daemonScan)
            } else if let task = daemon?.tasks.first, isPrivate(task) {
                stepDaemon(.daemonTask)
            } else {
                return
            }
        }
    }

    private mutating func note(_ request: StoreRequest) {
        guard recordsWrites else { return }
        if case .write(let path, let value) = request { writes.append("\(path.text) \(value.text)") }
        if case .remove(let path) = request { writes.append("\(path.text) removed") }
    }

    private mutating func note(_ step: String) {
        guard trace != nil else { return }
        let now = readStates()
        let line =
            "\(step): frontend \(now.frontend?.text ?? "-") \(guest.machine.map { "\($0.state)" } ?? "none"), "
            + "backend \(now.backend?.text ?? "-") \(daemon?.machine.map { "\($0.state)" } ?? "none")"
        trace?.append(line)
    }

    // MARK: The store

    mutating func asToolstack(_ request: StoreRequest, in transaction: StoreTransactionID = .none) -> StoreReply {
        var outputs: [StoreOutput] = []
        let reply = server.perform(request, in: transaction, on: toolstack, into: &outputs)
        deliver(outputs)
        return reply
    }

    /// A request of the guest or of the daemon.
    mutating func perform(_ pending: PendingRequest, _ client: inout StoreClient) -> StoreReply {
        var outputs: [StoreOutput] = []
        let transaction = pending.transaction == .none ? pending.transaction : client.transaction
        let reply = server.perform(pending.request, in: transaction, on: client.id, into: &outputs)
        note(pending.request)
        if case .endTransaction = pending.request { client.transaction = .none }
        receive(outputs, &client)
        deliver(outputs)
        if case .transaction(let id) = reply {
            client.transaction = id
            return .transaction(StoreClient.shown)
        }
        return reply
    }

    private func receive(_ outputs: [StoreOutput], _ client: inout StoreClient) {
        for output in outputs {
            guard case .message(let message, client.id) = output, let event = StoreWatchEvent(message),
                !client.inbox.contains(event)
            else { continue }
            client.inbox.append(event)
        }
    }

    /// To the clients that are not being worked with: those are taken out of the world meanwhile, see `receive`.
    private mutating func deliver(_ outputs: [StoreOutput]) {
        receive(outputs, &guest.client)
        if daemon != nil, var client = daemon?.client {
            receive(outputs, &client)
            daemon?.client = client
        }
    }

    mutating func transact(_ steps: [StoreStep]) {
        guard case .transaction(let id) = asToolstack(.beginTransaction) else { return }
        for step in steps { _ = asToolstack(step.request, in: id) }
        _ = asToolstack(.endTransaction(commit: true), in: id)
    }

    /// A node as the toolstack sees it. Reading changes nothing, but a copy of the whole store for it would cost much.
    mutating func value(_ path: StorePath) -> StoreValue? {
        var outputs: [StoreOutput] = []
        return server.perform(.read(path), on: toolstack, into: &outputs).nodeValue
    }

    mutating func readStates() -> StatePair {
        let paths = ChannelWorld.statePaths
        return StatePair(frontend: value(paths.0), backend: value(paths.1))
    }

    static let statePaths = (paths.frontend.appending("state"), paths.backend.appending("state"))
}
