// SPDX-License-Identifier: MIT

import Testing
import XenBus
import XenInterface

/// A backend's machine whose directory, or whose guest's, goes between two requests: nothing may make it anew (D16).
struct GoneDirectoryTests {
    private let paths = DevicePaths(frontend: DomainID(1), backend: .dom0, device: DeviceID(1))
    private let one = StoreTransactionID(rawValue: 1)

    private func realising() -> BackendHandshake {
        var machine = BackendHandshake(paths: paths, backendNodes: [], frontendNodes: ["ring-ref"], token: "t")
        _ = machine.handle(.start)
        for value in ["", StoreValue(paths.frontend.text), "1", "1", "1"] as [StoreValue] {
            _ = machine.handle(.reply(.value(value)))
        }
        #expect(machine.state == .realising)
        return machine
    }

    @Test func `tty is not written into a guest's directory that is gone, and the guest is waited for (D16, B34)`() {
        var machine = realising()
        #expect(
            machine.handle(.realised([DeviceDetail("tty", "/dev/pts/1")])) == [.store(.beginTransaction, in: .none)]
        )
        let guarding = machine.handle(.reply(.transaction(one)))
        #expect(guarding == [.store(.read(paths.frontend.appending("state")), in: one)])
        #expect(machine.handle(.reply(.failure(.noEntry))) == [.store(.endTransaction(commit: false), in: one)])
        let missing = BackendHandshake.Action.report(DeviceDiagnostic(paths.frontend, .missing))
        #expect(machine.handle(.reply(.done)) == [missing, .store(.beginTransaction, in: .none)])
        #expect(machine.state == .announcing)
    }

    @Test func `state 2 is not written into an own directory that is gone, and that is read again (D16, B34)`() {
        var machine = realising()
        _ = machine.handle(.realised([]))
        let guarding = machine.handle(.reply(.transaction(one)))
        #expect(guarding == [.store(.read(paths.backend.appending("state")), in: one)])
        #expect(machine.handle(.reply(.failure(.noEntry))) == [.store(.endTransaction(commit: false), in: one)])
        // Perhaps it was made anew meanwhile: the reading tells.
        #expect(machine.handle(.reply(.done)) == [.dispose, .store(.read(paths.backend), in: .none)])
        for _ in 0..<4 { _ = machine.handle(.reply(.failure(.noEntry))) }
        #expect(machine.handle(.reply(.failure(.noEntry))) == [.finished])
    }
}
