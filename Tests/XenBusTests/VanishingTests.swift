// SPDX-License-Identifier: MIT

import Testing
import XenBus
import XenInterface

/// A directory that goes, or comes back, between two requests.
struct VanishingTests {
    private let directory = FrontendOnStore.directory
    private let one = StoreTransactionID(rawValue: 1)

    @Test func `numbers are not written into a directory that is gone (D16)`() {
        var machine = FrontendHandshake.found(at: "1")
        #expect(machine.handle(.reply(.value("2"))) == [.prepare(backend: .dom0, [])])
        _ = machine.handle(.prepared([DeviceDetail("ring-ref", "8")]))
        let guarding = machine.handle(.reply(.transaction(one)))
        #expect(guarding == [.store(.read(directory.appending("state")), in: one)])
        #expect(machine.handle(.reply(.failure(.noEntry))) == [.store(.endTransaction(commit: false), in: one)])
        #expect(machine.handle(.reply(.done)) == [.release])
    }

    /// Who said 3 without the numbers would wait for ever.
    @Test func `state 3 is written with the numbers, or not at all (B18, B33)`() {
        var machine = FrontendHandshake.found(at: "1")
        _ = machine.handle(.reply(.value("2")))
        _ = machine.handle(.prepared([DeviceDetail("ring-ref", "8")]))
        _ = machine.handle(.reply(.transaction(one)))
        let publishing = machine.handle(.reply(.value("1")))
        #expect(publishing == [.store(.write(directory.appending("ring-ref"), "8"), in: one)])
        #expect(machine.handle(.reply(.done)) == [.store(.write(directory.appending("state"), "3"), in: one)])
        #expect(machine.handle(.reply(.done)) == [.store(.endTransaction(commit: true), in: one)])
        #expect(machine.state == .publishing)
    }

    /// It was made anew after the numbers were written: who said 4 there would wait for ever.
    @Test func `state 4 is not written into a directory that was made anew (B17, D16)`() throws {
        var guest = FrontendOnStore()
        try guest.give(.start)
        #expect(guest.machine.state == .waiting)
        #expect(guest.machine.handle(.backendChanged) == [.store(.read(guest.backendState), in: .none)])
        #expect(guest.machine.handle(.reply(.value("4"))) == [.store(.beginTransaction, in: .none)])
        let guarding = guest.machine.handle(.reply(.transaction(one)))
        #expect(guarding == [.store(.read(directory.appending("state")), in: one)])
        #expect(guest.machine.handle(.reply(.value("1"))) == [.store(.endTransaction(commit: false), in: one)])
        #expect(guest.machine.handle(.reply(.done)).count == 1)
        #expect(guest.machine.state == .retracting)
    }

    @Test func `a directory that was missing is read again if it changed meanwhile`() {
        var machine = FrontendHandshake(directory: directory, token: "t")
        let first = machine.handle(.start)
        #expect(first == [.store(.read(directory.appending("backend")), in: .none)])
        _ = machine.handle(.ownChanged(.other))
        for _ in 0..<2 { _ = machine.handle(.reply(.failure(.noEntry))) }
        let looking = [FrontendHandshake.Action.store(.read(directory), in: .none)]
        #expect(machine.handle(.reply(.failure(.noEntry))) == looking)
        #expect(machine.handle(.reply(.failure(.noEntry))) == first)
        for _ in 0..<2 { _ = machine.handle(.reply(.failure(.noEntry))) }
        #expect(machine.handle(.reply(.failure(.noEntry))) == looking)
        #expect(machine.handle(.reply(.failure(.noEntry))).last == .finished)
    }

    @Test func `a directory that is not complete is waited for (R8)`() {
        var machine = FrontendHandshake(directory: directory, token: "t")
        let first = machine.handle(.start)
        for _ in 0..<3 { _ = machine.handle(.reply(.failure(.noEntry))) }
        #expect(machine.handle(.reply(.value(""))) == [])
        #expect(machine.state == .refused)
        #expect(machine.handle(.ownChanged(.other)) == first)
    }
}
