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

    /// It was made anew after the numbers were written: who said 3 there would wait for ever.
    @Test func `state 3 is not written into a directory without the numbers (B17, D16)`() {
        var machine = FrontendHandshake.found(at: "1")
        _ = machine.handle(.reply(.value("2")))
        _ = machine.handle(.prepared([DeviceDetail("ring-ref", "8")]))
        _ = machine.handle(.reply(.transaction(one)))
        let publishing = machine.handle(.reply(.value("1")))
        #expect(publishing == [.store(.write(directory.appending("ring-ref"), "8"), in: one)])
        #expect(machine.handle(.reply(.done)) == [.store(.endTransaction(commit: true), in: one)])
        #expect(machine.handle(.reply(.done)) == [.store(.beginTransaction, in: .none)])
        #expect(machine.state == .announcing)
        _ = machine.handle(.reply(.transaction(one)))
        let guarding = machine.handle(.reply(.value("1")))
        #expect(guarding == [.store(.read(directory.appending("ring-ref")), in: one)])
        #expect(machine.handle(.reply(.failure(.noEntry))) == [.store(.endTransaction(commit: false), in: one)])
    }

    @Test func `a directory that was missing is read again if it changed meanwhile`() {
        var machine = FrontendHandshake(directory: directory, token: "t")
        let first = machine.handle(.start)
        #expect(first == [.store(.read(directory), in: .none)])
        _ = machine.handle(.ownChanged)
        for _ in 0..<3 { _ = machine.handle(.reply(.failure(.noEntry))) }
        #expect(machine.handle(.reply(.failure(.noEntry))) == first)
        for _ in 0..<3 { _ = machine.handle(.reply(.failure(.noEntry))) }
        #expect(machine.handle(.reply(.failure(.noEntry))).last == .finished)
    }
}
