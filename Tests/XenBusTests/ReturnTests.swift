// SPDX-License-Identifier: MIT

import Testing
import XenBus
import XenInterface

/// A device that is not at 1: the frontend leads it, and its backend, back (B16a).
struct ReturnTests {
    private let directory = StorePath.domain(DomainID(1)).appending("device/console/1")
    private let one = StoreTransactionID(rawValue: 1)

    /// A frontend that has found its own state and then its backend's.
    private func machine(at own: StoreValue, backend: StoreValue) -> (FrontendHandshake, [FrontendHandshake.Action]) {
        var machine = FrontendHandshake(directory: directory, token: "t")
        _ = machine.handle(.start)
        for value in ["", "/local/domain/0/backend/console/1/1", "0", own] as [StoreValue] {
            _ = machine.handle(.reply(.value(value)))
        }
        _ = machine.handle(.reply(.done))
        let actions = machine.handle(.reply(.value(backend)))
        return (machine, actions)
    }

    /// What is written is the step that the backend has not made yet; and nothing leads from 6 to 5.
    @Test(arguments: [
        ("3", "4", "5"), ("4", "4", "5"), ("5", "4", "5"), ("6", "4", "6"), ("6", "3", "6"), ("6", "8", "6"),
        ("4", "5", "6"), ("6", "5", "6"), ("4", "6", "1"), ("6", "6", "1"), ("4", "2", "1"), ("6", "2", "1"),
    ])
    func `the first state that is written depends on where both sides were left (B16a)`(
        own: String,
        backend: String,
        written: String
    ) {
        var (machine, actions) = machine(at: StoreValue(own), backend: StoreValue(backend))
        #expect(actions == [.store(.beginTransaction, in: .none)])
        _ = machine.handle(.reply(.transaction(one)))
        let write = StoreRequest.write(directory.appending("state"), StoreValue(written))
        #expect(machine.handle(.reply(.value(StoreValue(own)))) == [.store(write, in: one)])
    }

    @Test func `a backend that has missed state 6 gets its time to follow, and the device goes back to 1`() {
        var (machine, _) = machine(at: "6", backend: "4")
        _ = machine.handle(.reply(.transaction(one)))
        _ = machine.handle(.reply(.value("6")))
        _ = machine.handle(.reply(.done))
        let patience = FrontendHandshake.Action.startTimer(FrontendHandshake.closingPatience)
        #expect(machine.handle(.reply(.done)).contains(patience))
        #expect(machine.state == .awaitingClosed)
        #expect(machine.handle(.reply(.value("6"))).contains(.store(.beginTransaction, in: .none)))
        #expect(machine.state == .returning)
    }

    /// Otherwise it could run out within the next wait, or be taken for that one's.
    @Test func `a timer ends with the wait that it belongs to`() {
        var (machine, _) = machine(at: "6", backend: "4")
        _ = machine.handle(.reply(.transaction(one)))
        _ = machine.handle(.reply(.value("6")))
        _ = machine.handle(.reply(.done))
        _ = machine.handle(.reply(.done))
        let actions = machine.handle(.reply(.value("6")))
        #expect(actions.first == .stopTimer)
        let before = machine
        #expect(machine.handle(.timeout).isEmpty && machine == before)
    }
}
