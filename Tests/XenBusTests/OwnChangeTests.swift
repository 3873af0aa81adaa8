// SPDX-License-Identifier: MIT

import Testing
import XenBus
import XenInterface

/// A machine is told of what it writes into its own directory as well.
struct OwnChangeTests {
    private let paths = DevicePaths(frontend: DomainID(1), backend: .dom0, device: DeviceID(1))
    private let one = StoreTransactionID(rawValue: 1)

    @Test func `a frontend looks at its own directory when more than its state changed`() throws {
        var guest = FrontendOnStore()
        try guest.connect()
        var machine = guest.machine
        #expect(machine.handle(.ownChanged(.state)) == [])
        #expect(machine == guest.machine)
        let look = [FrontendHandshake.Action.store(.read(guest.directory.appending("state")), in: .none)]
        #expect(machine.handle(.ownChanged(.other)) == look)
    }

    @Test func `a frontend that misses its state reads all again when that comes (R8)`() throws {
        var guest = FrontendOnStore()
        guest.nodes[guest.directory.appending("state")] = nil
        try guest.give(.start)
        #expect(guest.machine.state == .refused)
        guest.nodes[guest.directory.appending("state")] = "1"
        try guest.give(.ownChanged(.state))
        #expect(guest.machine.state == .waiting)
    }

    /// Its backend has begun anew with it, and waits.
    @Test func `a frontend that is to close closes the device in a directory made anew as well (B33)`() throws {
        var guest = FrontendOnStore()
        try guest.give(.start)
        let state = guest.directory.appending("state")
        #expect(guest.machine.handle(.ownChanged(.other)) == [.store(.read(state), in: .none)])
        #expect(guest.machine.handle(.close) == [])
        guest.nodes[state] = "1"
        try guest.give(.reply(.value("1")))
        #expect(guest.machine.state == .awaitingClosing)
        guest.nodes[guest.backendState] = "6"
        try guest.give(.backendChanged)
        #expect(guest.machine.state == .finished && guest.state == "6" && !guest.isPublished)
    }

    private func reading(state: StoreReply) -> BackendHandshake {
        var machine = BackendHandshake(paths: paths, backendNodes: [], frontendNodes: ["ring-ref"], token: "t")
        _ = machine.handle(.start)
        for value in ["", StoreValue(paths.frontend.text), "1", "1"] as [StoreValue] {
            _ = machine.handle(.reply(.value(value)))
        }
        _ = machine.handle(.reply(state))
        return machine
    }

    private func waiting() -> BackendHandshake {
        var machine = reading(state: .value("1"))
        _ = machine.handle(.realised([]))
        for reply in [.transaction(one), .value("1"), .done, .done, .done, .done, .value("1")] as [StoreReply] {
            _ = machine.handle(.reply(reply))
        }
        #expect(machine.state == .waiting)
        return machine
    }

    @Test func `a backend without a frontend looks at its state, and at online when that may have changed (B24)`() {
        let state = [BackendHandshake.Action.store(.read(paths.backend.appending("state")), in: .none)]
        var machine = waiting()
        #expect(machine.handle(.ownChanged(.state)) == state)
        #expect(machine.handle(.reply(.value("2"))) == [])
        #expect(machine.handle(.ownChanged(.other)) == state)
        let online = machine.handle(.reply(.value("5")))
        #expect(online == [.store(.read(paths.backend.appending("online")), in: .none)])
        _ = machine.handle(.reply(.value("0")))
        #expect(machine.state == .awaitingClosed)
    }

    /// Who unplugs writes `online` in the same transaction.
    @Test func `a backend with a frontend looks when more than its state changed (B24)`() {
        var machine = waiting()
        _ = machine.handle(.frontendChanged)
        for reply in [.value("3"), .transaction(one), .value("8"), .done] as [StoreReply] {
            _ = machine.handle(.reply(reply))
        }
        _ = machine.handle(.connected)
        for reply in [.transaction(one), .value("2"), .done, .done] as [StoreReply] {
            _ = machine.handle(.reply(reply))
        }
        #expect(machine.state == .connected)
        let before = machine
        #expect(machine.handle(.ownChanged(.state)) == [])
        #expect(machine == before)
        #expect(machine.handle(.ownChanged(.other)) == [.store(.read(paths.backend.appending("state")), in: .none)])
    }

    @Test func `a backend that misses its state reads all again when that comes (B34)`() {
        var machine = reading(state: .failure(.noEntry))
        #expect(machine.state == .refused)
        #expect(machine.handle(.ownChanged(.state)) == [.store(.read(paths.backend), in: .none)])
    }
}
