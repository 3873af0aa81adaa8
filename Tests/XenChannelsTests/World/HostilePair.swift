// SPDX-License-Identifier: MIT

import XenBus
import XenChannels
import XenExploration
import XenInterface
import XenStore

/// The two machines of one channel over a store, with services that always succeed, and a toolstack that may be hostile.
struct HostilePair {
    enum Side: Hashable, CaseIterable {
        case guest
        case daemon
    }

    enum Step: Hashable {
        case reply(Side)
        case event(Side)
        case task(Side)
        case timer(Side)
    }

    /// A side's connection, and what is still to be done for its machine.
    struct Link {
        let id: StoreConnectionID
        var inbox: [StoreWatchEvent] = []
        var pending: PendingRequest?
        var hasTimer = false
    }

    private var server = StoreServer()
    private let toolstack: StoreConnectionID
    private let paths: DevicePaths
    private var links: [Side: Link]
    private(set) var guest: ChannelFrontend
    private(set) var daemon: ChannelBackend
    private var guestTask: ChannelFrontend.Action?
    private var daemonTask: ChannelBackend.Action?

    /// More than a machine ever has to say about one event.
    private static let mostActions = 8

    init(domain: DomainID) {
        toolstack = server.connect(as: .dom0)
        paths = DevicePaths(frontend: domain, backend: .dom0, device: DeviceID(1))
        guest = ChannelFrontend(key: DeviceKey(frontend: domain, device: DeviceID(1)), token: "peer")
        daemon = ChannelBackend(paths: paths, token: "peer")
        var outputs: [StoreOutput] = []
        if domain != .dom0 {
            let skeleton = DomainSkeleton(domain: domain, name: "g", uuid: "04646222-b09c-4bb2-9fe4-c2873075e5e7")
            for step in skeleton.creation { _ = server.perform(step.request, on: toolstack, into: &outputs) }
            let introduction = skeleton.introduction(storePort: EventChannelPort(1), storeFrame: FrameNumber(1))
            _ = server.perform(introduction, on: toolstack, into: &outputs)
        }
        links = [.guest: Link(id: server.connect(as: domain)), .daemon: Link(id: server.connect(as: .dom0))]
        watch(paths.frontend, on: .guest)
        watch(paths.backend, on: .daemon)
    }

    private mutating func watch(_ path: StorePath, on side: Side) {
        guard let id = links[side]?.id else { return }
        var outputs: [StoreOutput] = []
        _ = server.perform(.watch(path, token: "own"), on: id, into: &outputs)
        deliver(outputs)
    }

    // MARK: Steps

    var enabled: [Step] {
        Side.allCases.flatMap { side -> [Step] in
            var steps: [Step] = []
            if links[side]?.pending != nil { steps.append(.reply(side)) }
            if links[side]?.inbox.isEmpty == false { steps.append(.event(side)) }
            if links[side]?.hasTimer == true { steps.append(.timer(side)) }
            if side == .guest ? guestTask != nil : daemonTask != nil { steps.append(.task(side)) }
            return steps
        }
    }

    mutating func take(_ step: Step) throws(PropertyViolation) {
        switch step {
        case .reply(let side): try reply(side)
        case .event(let side): try event(side)
        case .task(.guest): try doGuest()
        case .task(.daemon): try doDaemon()
        case .timer(let side):
            links[side]?.hasTimer = false
            if side == .guest { try giveGuest(.timeout) } else { try giveDaemon(.timeout) }
        }
    }

    /// Runs to rest, timers last; what a timer starts over and over is cut.
    mutating func settle() throws(PropertyViolation) {
        for _ in 0..<4000 {
            let steps = enabled
            let next = steps.first { if case .timer = $0 { false } else { true } } ?? steps.first
            guard let next else { return }
            try take(next)
        }
        throw PropertyViolation("never at rest: \(guest.state), \(daemon.state)")
    }

    private mutating func reply(_ side: Side) throws(PropertyViolation) {
        guard let link = links[side], let pending = link.pending else { return }
        links[side]?.pending = nil
        var outputs: [StoreOutput] = []
        let reply = server.perform(pending.request, in: pending.transaction, on: link.id, into: &outputs)
        deliver(outputs)
        if side == .guest { try giveGuest(.reply(reply)) } else { try giveDaemon(.reply(reply)) }
    }

    private mutating func event(_ side: Side) throws(PropertyViolation) {
        guard let event = links[side]?.inbox.removeFirst() else { return }
        switch (side, event.token) {
        case (.guest, "own"): try ownChanged(event.path)
        case (.guest, _): try giveGuest(.backendChanged)
        case (.daemon, "own"):
            if daemon.state == .finished, value(paths.backend) != nil {
                daemon = ChannelBackend(paths: paths, token: "peer")
                try giveDaemon(.start)
            } else {
                try giveDaemon(daemon.state == .idle ? .start : .ownChanged(.other))
            }
        case (.daemon, _): try giveDaemon(.frontendChanged)
        }
    }

    /// As a scanner tells it: a machine that ended is made anew with its directory only.
    private mutating func ownChanged(_ path: StorePath) throws(PropertyViolation) {
        let isThere = value(paths.frontend) != nil
        if guest.state == .finished, isThere, path == paths.frontend {
            guest = ChannelFrontend(key: guest.key, token: "peer")
        }
        if guest.state == .idle {
            if isThere { try giveGuest(.start) }
        } else {
            try giveGuest(isThere ? .ownChanged(.other) : .removed)
        }
    }

    private mutating func giveGuest(_ event: ChannelFrontend.Event) throws(PropertyViolation) {
        let actions: [ChannelFrontend.Action] = guest.handle(event)
        try require(actions.count <= HostilePair.mostActions, "\(actions.count) actions after \(event)")
        for action in actions {
            switch action {
            case .store(let request, let transaction): try ask(request, transaction, .guest)
            case .prepare, .release:
                try require(guestTask == nil, "two tasks at a time")
                guestTask = action
            case .startTimer: links[.guest]?.hasTimer = true
            case .stopTimer: links[.guest]?.hasTimer = false
            case .connected, .disconnected, .report, .finished: break
            }
        }
    }

    private mutating func giveDaemon(_ event: ChannelBackend.Event) throws(PropertyViolation) {
        let actions: [ChannelBackend.Action] = daemon.handle(event)
        try require(actions.count <= HostilePair.mostActions, "\(actions.count) actions after \(event)")
        for action in actions {
            switch action {
            case .store(let request, let transaction): try ask(request, transaction, .daemon)
            case .open, .attach, .detach:
                try require(daemonTask == nil, "two tasks at a time")
                daemonTask = action
            case .startTimer: links[.daemon]?.hasTimer = true
            case .stopTimer: links[.daemon]?.hasTimer = false
            case .closeEndpoint, .report, .finished: break
            }
        }
    }

    private mutating func ask(
        _ request: StoreRequest,
        _ transaction: StoreTransactionID,
        _ side: Side
    ) throws(PropertyViolation) {
        try require(links[side]?.pending == nil, "two requests at a time")
        links[side]?.pending = PendingRequest(request: request, transaction: transaction)
    }

    private mutating func doGuest() throws(PropertyViolation) {
        let task = guestTask
        guestTask = nil
        if case .prepare = task {
            try giveGuest(.prepared(GrantReference(8), EventChannelPort(9)))
        } else {
            try giveGuest(.released)
        }
    }

    private mutating func doDaemon() throws(PropertyViolation) {
        let task = daemonTask
        daemonTask = nil
        switch task {
        case .open: try giveDaemon(.opened(tty: "/dev/pts/1"))
        case .attach(let attachment):
            // What was not granted cannot be mapped.
            let isGood = attachment.ring == GrantReference(8) && attachment.port == EventChannelPort(9)
            try giveDaemon(isGood ? .attached : .failed("no such grant"))
        case .detach: try giveDaemon(.detached)
        case .store, .closeEndpoint, .startTimer, .stopTimer, .report, .finished, nil: break
        }
    }
}

// MARK: - The store

extension HostilePair {
    var isConnected: Bool { guest.state == .connected && daemon.state == .connected }
    var frontendState: StoreValue? { mutating get { value(paths.frontend.appending("state")) } }
    var backendState: StoreValue? { mutating get { value(paths.backend.appending("state")) } }

    private mutating func value(_ path: StorePath) -> StoreValue? {
        var outputs: [StoreOutput] = []
        return server.perform(.read(path), on: toolstack, into: &outputs).nodeValue
    }

    private mutating func deliver(_ outputs: [StoreOutput]) {
        for side in Side.allCases {
            guard var link = links[side] else { continue }
            for output in outputs {
                guard case .message(let message, link.id) = output, let event = StoreWatchEvent(message),
                    !link.inbox.contains(event)
                else { continue }
                link.inbox.append(event)
            }
            links[side] = link
        }
    }

    private mutating func transact(_ steps: [StoreStep]) {
        var outputs: [StoreOutput] = []
        let begun = server.perform(.beginTransaction, on: toolstack, into: &outputs)
        guard case .transaction(let id) = begun else { return }
        for step in steps { _ = server.perform(step.request, in: id, on: toolstack, into: &outputs) }
        _ = server.perform(.endTransaction(commit: true), in: id, on: toolstack, into: &outputs)
        deliver(outputs)
    }

    mutating func plug() {
        let specification = ChannelSpecification(name: "org.example.agent.0", connection: .pty)
        guard let channel = try? ChannelConfiguration(specification, device: paths.device) else { return }
        transact(channel.creation(in: paths.frontendDomain))
    }

    mutating func unplug() {
        transact([StoreStep(.remove(paths.frontend)), StoreStep(.remove(paths.backend))])
    }

    /// A write or a removal of any node that either machine reads, or of a whole directory.
    func disturbance(_ choices: inout Choices) -> StoreRequest {
        let frontend = ["state", "state", "state", "ring-ref", "port", "limit", "backend", "backend-id", "name", "tty"]
        let backend = ["state", "state", "state", "online", "frontend", "frontend-id", "name", "connection", "path"]
        let nodes = frontend.map { paths.frontend.appending($0) } + backend.map { paths.backend.appending($0) }
        switch choices.index(weights: [12, 3, 1]) {
        case 0: return .write(choices.pick(from: nodes), value(&choices))
        case 1: return .remove(choices.pick(from: nodes))
        default: return .remove(choices.bool() ? paths.frontend : paths.backend)
        }
    }

    private func value(_ choices: inout Choices) -> StoreValue {
        let odd: [StoreValue] = [
            "", "-1", "+4", "4 ", " 4", "04", "0x4", "x", "9", "4294967296", "99999999999999999999", "32752", "8\u{0}",
            "/", "//", "state", StoreValue(paths.frontend.text), StoreValue(paths.backend.text), "socket",
        ]
        switch choices.index(weights: [8, 3, 1]) {
        case 0: return StoreValue(decimal: choices.choose(below: 10))
        case 1: return choices.pick(from: odd)
        default: return StoreValue(choices.bytes(count: choices.choose(below: 24)))
        }
    }

    mutating func disturb(_ request: StoreRequest, asGuest: Bool) {
        guard let guest = links[.guest] else { return }
        var outputs: [StoreOutput] = []
        _ = server.perform(request, on: asGuest ? guest.id : toolstack, into: &outputs)
        deliver(outputs)
    }
}
