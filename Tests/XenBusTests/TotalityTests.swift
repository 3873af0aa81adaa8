// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenBus
import XenExploration
import XenInterface

/// Replies of every kind, whether they fit the question or not: the store may be broken or hostile.
func anyReply(_ choices: inout Choices) -> StoreReply {
    let values: [StoreValue] = [
        "1", "2", "3", "4", "5", "6", "0", "7", "8", "9", "", "-1", "+4", "4 ", "x", "65535", "32751",
        "99999999999999999999",
        "/local/domain/0/backend/console/1/1", "/local/domain/1/device/console/1", "connected",
    ]
    switch choices.index(weights: [8, 40, 10, 4, 2, 2, 2, 2, 2, 2]) {
    case 0: return .done
    case 1: return .value(choices.pick(from: values))
    case 2: return .failure(choices.pick(from: StoreErrorCode.allCases))
    case 3: return .transaction(StoreTransactionID(rawValue: UInt32(choices.choose(below: 3))))
    case 4: return .children(["1", "01", "x"])
    case 5: return .part(generation: 1, children: [], isLast: choices.bool())
    case 6: return .permissions(StorePermissions(owner: .dom0))
    case 7: return .flag(true)
    case 8: return .path(.root)
    default: return .failure(.noEntry)
    }
}

/// A reply that a sane store could give, so that walks get far.
func fittingReply(_ request: StoreRequest, _ choices: inout Choices) -> StoreReply {
    switch request {
    case .beginTransaction: return .transaction(StoreTransactionID(rawValue: 1))
    case .read(let path):
        if choices.chance(1, in: 12) { return .failure(.noEntry) }
        switch path.lastComponent {
        case "state": return .value(StoreValue(decimal: choices.integer(in: UInt8(1)...6)))
        case "backend": return .value("/local/domain/0/backend/console/1/1")
        case "backend-id": return .value("0")
        case "frontend": return .value("/local/domain/1/device/console/1")
        case "frontend-id": return .value("1")
        case "online": return .value(choices.chance(1, in: 8) ? "0" : "1")
        default: return .value("8")
        }
    case .endTransaction: return choices.chance(1, in: 12) ? .failure(.again) : .done
    default: return .done
    }
}

/// The rules that what a machine asks for must follow, whatever it is told.
struct Conduct {
    var pending: StoreRequest?
    var transaction = false
    var isWatching = false
    var hasTimer = false
    /// The page and the port, or the endpoint, are there.
    var isMade = false
    /// The bytes may flow, or the ring is mapped.
    var isOpen = false
    var isFinished = false

    mutating func ask(_ request: StoreRequest, in id: StoreTransactionID) throws(PropertyViolation) {
        try require(pending == nil, "two requests at a time")
        try require(transaction == (id != .none), "\(request) is not in its transaction")
        pending = request
    }

    /// Notes what a reply means for what is open in the store.
    mutating func answer(_ reply: StoreReply) {
        switch (pending, reply) {
        case (.beginTransaction, .transaction(let id)): transaction = id != .none
        case (.endTransaction, _): transaction = false
        case (.watch, .failure): break
        case (.watch, _): isWatching = true
        case (.unwatch, _): isWatching = false
        default: break
        }
        pending = nil
    }
}

struct TotalityTests {
    @Test func `no event in any state traps a frontend or makes it ask for what makes no sense`() {
        checkProperty(cases: 400) { choices in
            var walk = FrontendWalk()
            for _ in 0..<choices.choose(below: 150) { try walk.step(&choices) }
        }
    }

    @Test func `no event in any state traps a backend or makes it ask for what makes no sense`() {
        checkProperty(cases: 400) { choices in
            var walk = BackendWalk()
            for _ in 0..<choices.choose(below: 150) { try walk.step(&choices) }
        }
    }
}

/// A frontend's machine on a random way.
struct FrontendWalk {
    var machine: FrontendHandshake
    var conduct = Conduct()
    var isSane = false
    static let directory = StorePath.domain(DomainID(1)).appending("device/console/1")

    init() {
        machine = FrontendHandshake(directory: FrontendWalk.directory, ownNodes: ["name"], token: "t")
    }

    mutating func step(_ choices: inout Choices) throws(PropertyViolation) {
        try give(event(&choices))
    }

    func event(_ choices: inout Choices) -> FrontendHandshake.Event {
        if machine.state == .idle { return choices.chance(1, in: 20) ? .backendChanged : .start }
        if let request = conduct.pending, choices.chance(5, in: 8) {
            return .reply(choices.chance(1, in: 15) ? anyReply(&choices) : fittingReply(request, &choices))
        }
        let details = [DeviceDetail("ring-ref", "8"), DeviceDetail("port", "9")]
        if machine.state == .preparing, choices.chance(1, in: 2) { return .prepared(details) }
        if machine.state == .releasing, choices.chance(1, in: 2) { return .released }
        switch choices.index(weights: [8, 4, 1, 1, 1, 1, 2, 4]) {
        case 0: return .backendChanged
        case 1: return .ownChanged(choices.bool() ? .state : .other)
        case 2: return .close
        case 3: return .removed
        case 4: return .failed("nothing left")
        case 5: return .released
        case 6: return .prepared(details)
        default: return .timeout
        }
    }

    mutating func give(_ event: FrontendHandshake.Event) throws(PropertyViolation) {
        if case .reply(let reply) = event { conduct.answer(reply) }
        if case .timeout = event { conduct.hasTimer = false }
        if case .prepared = event, machine.state == .preparing { conduct.isMade = true }
        if case .released = event, machine.state == .releasing { conduct.isMade = false }
        for action in machine.handle(event) {
            try require(!conduct.isFinished, "\(action) after the end")
            switch action {
            case .store(let request, let transaction): try conduct.ask(request, in: transaction)
            case .prepare: try require(!conduct.isMade && machine.state == .preparing, "prepared twice")
            case .connected:
                try require(conduct.isMade && !conduct.isOpen, "connected without a page, or twice")
                conduct.isOpen = true
            case .disconnected:
                try require(conduct.isOpen, "disconnected twice")
                conduct.isOpen = false
            case .release: try require(conduct.isMade && !conduct.isOpen, "released what is not there, or in use")
            case .startTimer: conduct.hasTimer = true
            case .stopTimer: conduct.hasTimer = false
            case .report: break
            case .finished: conduct.isFinished = true
            }
        }
        guard conduct.isFinished else { return }
        try require(machine.state == .finished, "ended in \(machine.state)")
        try require(conduct.pending == nil && !conduct.transaction, "ended with a request or a transaction open")
        try require(!conduct.isMade && !conduct.isOpen && !conduct.hasTimer, "ended with a page or a timer: \(conduct)")
    }
}

/// A backend's machine on a random way.
struct BackendWalk {
    var machine: BackendHandshake
    var conduct = Conduct()

    init() {
        let paths = DevicePaths(frontend: DomainID(1), backend: .dom0, device: DeviceID(1))
        machine = BackendHandshake(
            paths: paths,
            backendNodes: ["connection"],
            frontendNodes: ["ring-ref", "port"],
            token: "t"
        )
    }

    mutating func step(_ choices: inout Choices) throws(PropertyViolation) {
        try give(event(&choices))
    }

    func event(_ choices: inout Choices) -> BackendHandshake.Event {
        if machine.state == .idle { return choices.chance(1, in: 20) ? .ownChanged(.other) : .start }
        if let request = conduct.pending, choices.chance(5, in: 8) {
            return .reply(choices.chance(1, in: 15) ? anyReply(&choices) : fittingReply(request, &choices))
        }
        let problem = choices.bool() ? DeviceDiagnostic.Problem.missing : .service("no")
        let diagnostic = DeviceDiagnostic(machine.paths.frontend, problem)
        if machine.state == .realising, choices.chance(2, in: 3) {
            return .realised([DeviceDetail("tty", "/dev/pts/1")])
        }
        if machine.state == .connecting, choices.chance(2, in: 3) { return .connected }
        if machine.state == .disconnecting, choices.chance(1, in: 2) { return .disconnected }
        switch choices.index(weights: [8, 4, 1, 1, 1, 1, 1, 4]) {
        case 0: return .frontendChanged
        case 1: return .ownChanged(choices.bool() ? .state : .other)
        case 2: return .close
        case 3: return .failed(diagnostic)
        case 4: return .realised([])
        case 5: return .connected
        case 6: return .disconnected
        default: return .timeout
        }
    }

    mutating func give(_ event: BackendHandshake.Event) throws(PropertyViolation) {
        if case .reply(let reply) = event { conduct.answer(reply) }
        if case .timeout = event { conduct.hasTimer = false }
        if case .realised = event, machine.state == .realising { conduct.isMade = true }
        if case .connected = event, machine.state == .connecting { conduct.isOpen = true }
        if case .disconnected = event, machine.state == .disconnecting { conduct.isOpen = false }
        for action in machine.handle(event) {
            try require(!conduct.isFinished, "\(action) after the end")
            switch action {
            case .store(let request, let transaction): try conduct.ask(request, in: transaction)
            case .realise: try require(!conduct.isMade, "opened twice")
            case .connect: try require(conduct.isMade && !conduct.isOpen, "attached twice, or to nothing")
            case .disconnect: try require(conduct.isOpen, "detached twice")
            case .dispose:
                try require(conduct.isMade && !conduct.isOpen, "closed what is not open, or in use")
                conduct.isMade = false
            case .startTimer: conduct.hasTimer = true
            case .stopTimer: conduct.hasTimer = false
            case .report: break
            case .finished: conduct.isFinished = true
            }
        }
        guard conduct.isFinished else { return }
        try require(machine.state == .finished, "ended in \(machine.state)")
        try require(conduct.pending == nil && !conduct.transaction, "ended with a request or a transaction open")
        try require(!conduct.isMade && !conduct.isOpen && !conduct.hasTimer, "ended with something open: \(conduct)")
    }
}
