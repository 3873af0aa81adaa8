// SPDX-License-Identifier: MIT

import Testing
import XenBus
import XenInterface

struct RefusedFrontendTests {
    /// A frontend whose watch on the backend is refused has published its numbers already: before it takes the page back, the
    /// backend must learn that they are void, or it maps whatever the reference stands for next.
    @Test func `a frontend that the store refuses retracts its numbers and says 6 before it releases the page`() throws
    {
        let directory = try #require(StorePath("/local/domain/1/device/console/1"))
        var machine = FrontendHandshake(directory: directory, token: "t")
        var nodes: [StorePath: StoreValue] = [
            directory: "", directory.appending("backend"): "/local/domain/0/backend/console/1/1",
            directory.appending("backend-id"): "0", directory.appending("state"): "1",
        ]
        var events: [FrontendHandshake.Event] = [.start]
        var wasReleased = false
        while !events.isEmpty {
            for action in machine.handle(events.removeFirst()) {
                switch action {
                case .store(let request, _): events.append(.reply(answer(request, &nodes)))
                case .prepare: events.append(.prepared([DeviceDetail("ring-ref", "8"), DeviceDetail("port", "3")]))
                case .release:
                    wasReleased = true
                    #expect(nodes[directory.appending("state")] == "6")
                    #expect(nodes[directory.appending("ring-ref")] == nil)
                    #expect(nodes[directory.appending("port")] == nil)
                    events.append(.released)
                case .report(let diagnostic): #expect(diagnostic.problem == .refused(.quota))
                case .connected, .disconnected, .startTimer, .stopTimer, .finished: break
                }
            }
        }
        #expect(wasReleased)
        #expect(machine.state == .finished)
    }

    /// A store of a few nodes that has no room for a watch.
    private func answer(_ request: StoreRequest, _ nodes: inout [StorePath: StoreValue]) -> StoreReply {
        switch request {
        case .beginTransaction: return .transaction(StoreTransactionID(rawValue: 1))
        case .read(let path): return nodes[path].map { .value($0) } ?? .failure(.noEntry)
        case .write(let path, let value): nodes[path] = value
        case .remove(let path): nodes[path] = nil
        case .watch: return .failure(.quota)
        case .endTransaction, .unwatch, .directory, .directoryPart, .makeDirectory, .getPermissions, .setPermissions,
            .resetWatches, .introduce, .release, .resume, .setTarget, .isIntroduced, .domainPath:
            break
        }
        return .done
    }
}
