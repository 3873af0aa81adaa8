// SPDX-License-Identifier: MIT

import Testing
import XenBus
import XenChannels
import XenInterface

@testable import XenChannelIO

/// A store that refuses a toolstack's removals, so many times, as one does when somebody else made a child meanwhile (R27).
private struct RefusingStore: StoreConnection {
    let base: LiveStoreConnection
    let refused: StorePath
    let code: StoreErrorCode
    var refusals: Int
    var commits = 0
    var aborts = 0

    mutating func perform(_ request: StoreRequest, in transaction: StoreTransactionID) -> StoreReply {
        switch request {
        case .remove(refused) where refusals > 0:
            refusals -= 1
            return .failure(code)
        case .endTransaction(let commit):
            if commit { commits += 1 } else { aborts += 1 }
        default:
            break
        }
        return base.perform(request, in: transaction)
    }

    mutating func nextWatchEvent() -> StoreWatchEvent? { base.nextWatchEvent() }
}

@Suite(.longest)
struct RemovalTests {
    private let host = LiveHost()
    private let toolstack: LiveToolstack
    private let guest: DomainID
    private let backend: StorePath

    init() throws {
        toolstack = LiveToolstack(on: host)
        let channels = try ChannelConfiguration.list([ChannelSpecification("connection=pty,name=a")])
        guest = try toolstack.createGuest(name: "g", uuid: "0") { _ in channels }.id
        backend = DevicePaths(frontend: guest, backend: .dom0, device: DeviceID(1)).backend
    }

    private func store(refusing refusals: Int, _ code: StoreErrorCode = .inputOutput) -> RefusingStore {
        RefusingStore(
            base: LiveStoreConnection(as: .dom0, to: host),
            refused: backend,
            code: code,
            refusals: refusals
        )
    }

    private var isThere: Bool {
        let frontend = DevicePaths.frontend(DeviceID(1), of: guest)
        let connection = LiveStoreConnection(as: .dom0, to: host)
        let replies = [frontend, backend].map { connection.perform(.directory($0)) }
        // Both or none: a transaction is whole.
        #expect((replies[0] == .failure(.noEntry)) == (replies[1] == .failure(.noEntry)))
        return replies[0] != .failure(.noEntry)
    }

    @Test(arguments: [StoreErrorCode.inputOutput, .again])
    func `a step that is refused ends the transaction, and all is begun anew`(_ code: StoreErrorCode) throws {
        var store = store(refusing: 2, code)
        try ConsoleDeviceRemoval(of: DeviceID(1), in: guest).run(on: &store)
        #expect((store.aborts, store.commits) == (2, 1))
        #expect(!isThere)
    }

    @Test func `a refusal that never ends is told, and nothing is removed`() throws {
        var store = store(refusing: .max)
        let removal = ConsoleDeviceRemoval(of: DeviceID(1), in: guest)
        #expect(throws: StoreFailure(.remove(backend), .inputOutput)) { try removal.run(on: &store) }
        #expect(store.commits == 0)
        #expect(isThere)
        try toolstack.remove(DeviceID(1), from: guest)
        #expect(!isThere)
    }

    @Test func `what is not there is removed already`() throws {
        try toolstack.remove(DeviceID(1), from: guest)
        try toolstack.remove(DeviceID(1), from: guest)
        #expect(!isThere)
    }
}
