// SPDX-License-Identifier: MIT

import Testing
import XenBus
import XenInterface

/// A backend that finds a guest's numbers to be no good while the guest has already said something new.
struct StaleNumbersTests {
    private let paths = DevicePaths(frontend: DomainID(1), backend: .dom0, device: DeviceID(1))
    private let bad = DeviceDiagnostic(.root, .service("no such grant"))

    /// Gives an event, answers all requests, and returns the actions that are none.
    private func give(
        _ event: BackendHandshake.Event,
        to machine: inout BackendHandshake,
        on nodes: inout [StorePath: StoreValue]
    ) -> [BackendHandshake.Action] {
        var others: [BackendHandshake.Action] = []
        var events = [event]
        while !events.isEmpty {
            for action in machine.handle(events.removeFirst()) {
                guard case .store(let request, _) = action else {
                    others.append(action)
                    continue
                }
                switch request {
                case .beginTransaction: events.append(.reply(.transaction(StoreTransactionID(rawValue: 1))))
                case .read(let path): events.append(.reply(nodes[path].map { .value($0) } ?? .failure(.noEntry)))
                case .write(let path, let value):
                    nodes[path] = value
                    events.append(.reply(.done))
                default: events.append(.reply(.done))
                }
            }
        }
        return others
    }

    private func connecting(on nodes: inout [StorePath: StoreValue]) -> BackendHandshake {
        var machine = BackendHandshake(paths: paths, backendNodes: [], frontendNodes: ["ring-ref"], token: "t")
        nodes = [
            paths.backend: "", paths.backend.appending("frontend"): StoreValue(paths.frontend.text),
            paths.backend.appending("frontend-id"): "1", paths.backend.appending("online"): "1",
            paths.backend.appending("state"): "1", paths.frontend.appending("state"): "3",
            paths.frontend.appending("ring-ref"): "8",
        ]
        _ = give(.start, to: &machine, on: &nodes)
        let actions = give(.realised([]), to: &machine, on: &nodes)
        #expect(actions == [.connect(["8"])])
        return machine
    }

    @Test func `numbers that are no good end in state 6 (B23)`() {
        var nodes: [StorePath: StoreValue] = [:]
        var machine = connecting(on: &nodes)
        _ = give(.failed(bad), to: &machine, on: &nodes)
        // 5, and 6 at once: nothing was mapped.
        #expect(nodes[paths.backend.appending("state")] == "6")
    }

    @Test func `numbers that were replaced meanwhile are read again, and the guest is not told to close (B16a, B23)`() {
        var nodes: [StorePath: StoreValue] = [:]
        var machine = connecting(on: &nodes)
        nodes[paths.frontend.appending("ring-ref")] = "9"
        _ = give(.frontendChanged, to: &machine, on: &nodes)
        let actions = give(.failed(bad), to: &machine, on: &nodes)
        #expect(actions.contains(.connect(["9"])))
        #expect(nodes[paths.backend.appending("state")] == "2")
    }
}
