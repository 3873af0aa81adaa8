// SPDX-License-Identifier: MIT

import XenBus
import XenExploration
import XenInterface

extension FrontendHandshake {
    /// A frontend that has found its own state, and has asked for what comes next.
    static func found(at own: StoreValue) -> FrontendHandshake {
        var machine = FrontendHandshake(directory: FrontendOnStore.directory, token: "t")
        _ = machine.handle(.start)
        for value in ["/local/domain/0/backend/console/1/1", "0", own] as [StoreValue] {
            _ = machine.handle(.reply(.value(value)))
        }
        return machine
    }
}

/// A frontend on a store of a few nodes, whose requests are answered at once unless they are to be refused.
struct FrontendOnStore {
    var machine: FrontendHandshake
    static let directory = StorePath.domain(DomainID(1)).appending("device/console/1")
    let directory = FrontendOnStore.directory
    let backend = DevicePaths(frontend: DomainID(1), backend: .dom0, device: DeviceID(1)).backend
    let backendState = DevicePaths(frontend: DomainID(1), backend: .dom0, device: DeviceID(1)).backend
        .appending("state")
    var nodes: [StorePath: StoreValue]
    var refusals: [StoreRequest: StoreErrorCode] = [:]
    /// Refuses the next requests, whatever they are.
    var coming: [StoreErrorCode?] = []
    private var before: [StorePath: StoreValue] = [:]
    var reports: [DeviceDiagnostic] = []
    var hasTimer = false
    var wasReleased = false
    private var isMade = false

    init() {
        machine = FrontendHandshake(directory: directory, token: "t")
        nodes = [
            directory: "", directory.appending("backend"): "/local/domain/0/backend/console/1/1",
            directory.appending("backend-id"): "0", directory.appending("state"): "1", backendState: "2",
        ]
    }

    var state: StoreValue? { nodes[directory.appending("state")] }
    var isPublished: Bool { nodes[directory.appending("ring-ref")] != nil }

    mutating func connect() throws(PropertyViolation) {
        try give(.start)
        nodes[backendState] = "4"
        try give(.backendChanged)
        try require(machine.state == .connected, "not connected")
    }

    mutating func upset(_ choices: inout Choices) {
        if choices.chance(1, in: 3) {
            coming = choices.array(count: 0...12) {
                $0.chance(1, in: 3) ? $0.pick(from: StoreErrorCode.allCases) : nil
            }
        }
        if choices.chance(1, in: 3) { nodes[backendState] = StoreValue(decimal: choices.integer(in: UInt8(1)...6)) }
        if choices.chance(1, in: 30) { nodes[backendState] = nil }
        if choices.chance(1, in: 30) { nodes[directory.appending("state")] = "1" }
    }

    mutating func step(_ choices: inout Choices) throws(PropertyViolation) {
        guard machine.state != .idle else { return try give(.start) }
        switch choices.index(weights: [8, 3, 1, 1, 4]) {
        case 0: try give(.backendChanged)
        case 1: try give(.ownChanged(.other))
        case 2: try give(.close)
        case 3:
            if choices.chance(1, in: 3) {
                nodes = nodes.filter { $0.key.relative(to: directory) == nil }
                try give(.removed)
            }
        default: if hasTimer { try give(.timeout) }
        }
    }

    mutating func give(_ event: FrontendHandshake.Event) throws(PropertyViolation) {
        var events = [event]
        var count = 0
        if event == .timeout { hasTimer = false }
        while !events.isEmpty {
            count += 1
            try require(count < 2000, "one event never comes to an end: \(machine.state)")
            for action in machine.handle(events.removeFirst()) {
                switch action {
                case .store(let request, let transaction): events.append(.reply(answer(request, transaction)))
                case .prepare:
                    isMade = true
                    events.append(.prepared([DeviceDetail("ring-ref", "8"), DeviceDetail("port", "3")]))
                case .release:
                    for name in ["ring-ref", "port"] {
                        try require(nodes[directory.appending(name)] == nil, "released while \(name) is in the store")
                    }
                    wasReleased = true
                    isMade = false
                    events.append(.released)
                case .startTimer: hasTimer = true
                case .stopTimer: hasTimer = false
                case .report(let diagnostic): reports.append(diagnostic)
                case .finished: try require(!isMade, "finished with a page")
                case .connected, .disconnected: break
                }
            }
        }
    }

    private mutating func answer(_ request: StoreRequest, _ transaction: StoreTransactionID) -> StoreReply {
        let refusal = refusals[request] ?? (coming.isEmpty ? nil : coming.removeFirst())
        // That a node is not there is never untrue.
        if let refusal, refusal != .noEntry {
            if case .endTransaction = request { nodes = before }
            return .failure(refusal)
        }
        switch request {
        case .beginTransaction:
            before = nodes
            return .transaction(StoreTransactionID(rawValue: 1))
        case .read(let path): return nodes[path].map { .value($0) } ?? .failure(.noEntry)
        case .write(let path, let value): nodes[path] = value
        case .remove(let path): nodes[path] = nil
        case .endTransaction(let commits): if !commits { nodes = before }
        case .watch, .unwatch, .directory, .directoryPart, .makeDirectory, .getPermissions, .setPermissions,
            .resetWatches, .introduce, .release, .resume, .setTarget, .isIntroduced, .domainPath:
            break
        }
        return .done
    }
}
