// SPDX-License-Identifier: MIT

import Testing
import XenBus
import XenInterface

/// A device that is not at 1: the frontend leads it, and its backend, back (B16a).
struct ReturnTests {
    private let directory = FrontendOnStore.directory
    private let one = StoreTransactionID(rawValue: 1)

    /// A frontend that has found its own state and then its backend's.
    private func machine(at own: StoreValue, backend: StoreValue) -> (FrontendHandshake, [FrontendHandshake.Action]) {
        var machine = FrontendHandshake.found(at: own)
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

    /// A backend that is plugged in, and has closed the device.
    private func closed(connected isConnected: Bool) throws -> FrontendOnStore {
        var guest = FrontendOnStore()
        guest.nodes[guest.backend.appending("online")] = "1"
        if isConnected { try guest.connect() } else { try guest.give(.start) }
        guest.nodes[guest.backendState] = "6"
        try guest.give(.backendChanged)
        return guest
    }

    @Test func `who had been connected comes back at once, who had not after a while (B25)`() throws {
        let prompt = try closed(connected: true)
        #expect(prompt.machine.state == .awaitingReturn && prompt.state == "1")
        var late = try closed(connected: false)
        #expect(late.machine.state == .awaitingReturn && late.state == "6" && late.hasTimer)
        try late.give(.backendChanged)
        #expect(late.state == "6")
        try late.give(.timeout)
        #expect(late.state == "1")
    }

    /// Two sides that cannot agree would keep each other busy for ever.
    @Test func `who is closed again and again before it is connected comes back five times, and then waits`() throws {
        var guest = try closed(connected: false)
        for round in 0..<12 {
            #expect(guest.hasTimer == (round < 5), "round \(round)")
            guard guest.hasTimer else { break }
            try guest.give(.timeout)
            guest.nodes[guest.backendState] = "2"
            try guest.give(.backendChanged)
            #expect(guest.machine.state == .waiting && guest.state == "3")
            guest.nodes[guest.backendState] = "6"
            try guest.give(.backendChanged)
        }
        #expect(!guest.hasTimer && guest.state == "6")
        // A connection counts as agreement: it has five more.
        guest.nodes[guest.backendState] = "2"
        try guest.give(.backendChanged)
        guest.nodes[guest.backendState] = "4"
        try guest.give(.backendChanged)
        #expect(guest.machine.state == .connected)
        guest.nodes[guest.backendState] = "6"
        try guest.give(.backendChanged)
        guest.nodes[guest.backendState] = "2"
        try guest.give(.backendChanged)
        guest.nodes[guest.backendState] = "6"
        try guest.give(.backendChanged)
        #expect(guest.machine.state == .awaitingReturn && guest.hasTimer)
    }

    @Test func `who wants to close does not come back, not even from a store that had kept its numbers`() throws {
        var guest = FrontendOnStore()
        guest.nodes[guest.backend.appending("online")] = "1"
        try guest.connect()
        guest.refusals[.remove(guest.directory.appending("ring-ref"))] = .quota
        guest.nodes[guest.backendState] = "6"
        try guest.give(.backendChanged)
        #expect(guest.machine.state == .holding)
        try guest.give(.close)
        guest.refusals = [:]
        try guest.give(.timeout)
        #expect(guest.machine.state == .finished)
    }

    @Test func `who waits to come back and is to close says 6, and waits for nobody`() throws {
        var guest = try closed(connected: true)
        guest.nodes[guest.backendState] = "5"
        try guest.give(.close)
        #expect(guest.machine.state == .finished && guest.state == "6" && !guest.hasTimer)
    }

    @Test(arguments: ["5", "6"])
    func `a device at 1 is not offered to a backend that still closes its earlier life (B16a, R8)`(backend: String)
        throws
    {
        var guest = FrontendOnStore()
        guest.nodes[guest.backendState] = StoreValue(backend)
        try guest.give(.start)
        #expect(guest.machine.state == .awaitingReturn && !guest.isPublished)
        guest.nodes[guest.backendState] = "2"
        try guest.give(.backendChanged)
        #expect(guest.machine.state == .waiting && guest.isPublished)
    }

    /// It may be on its way, and reads the numbers when it is there (B15: Linux does not wait either).
    @Test func `a device that came back to 1 is offered although there is no backend`() throws {
        var guest = try closed(connected: true)
        guest.nodes[guest.backendState] = nil
        try guest.give(.backendChanged)
        #expect(guest.machine.state == .waiting && guest.isPublished && guest.state == "3")
    }

    @Test func `a backend whose state is gone is a backend that is gone: the frontend closes (B27)`() throws {
        var guest = FrontendOnStore()
        try guest.connect()
        guest.nodes[guest.backendState] = nil
        try guest.give(.backendChanged)
        #expect(guest.machine.state == .finished && guest.state == "6" && guest.wasReleased)
    }

    /// Nobody can tell whether it was carried out.
    @Test func `numbers of a commit that failed for another reason than a conflict are taken back`() {
        var machine = FrontendHandshake(directory: directory, token: "t")
        _ = machine.handle(.start)
        for value in ["/local/domain/0/backend/console/1/1", "0", "1", "2"] as [StoreValue] {
            _ = machine.handle(.reply(.value(value)))
        }
        _ = machine.handle(.prepared([DeviceDetail("ring-ref", "8")]))
        _ = machine.handle(.reply(.transaction(one)))
        _ = machine.handle(.reply(.value("1")))
        _ = machine.handle(.reply(.done))
        #expect(machine.handle(.reply(.done)) == [.store(.endTransaction(commit: true), in: one)])
        _ = machine.handle(.reply(.failure(.noSpace)))
        #expect(machine.state == .closed)
        _ = machine.handle(.reply(.transaction(one)))
        _ = machine.handle(.reply(.value("1")))
        _ = machine.handle(.reply(.done))
        _ = machine.handle(.reply(.done))
        #expect(machine.state == .awaitingClosed)
        let retracting = machine.handle(.reply(.failure(.noEntry)))
        #expect(retracting.contains(.store(.remove(directory.appending("ring-ref")), in: .none)))
    }
}
