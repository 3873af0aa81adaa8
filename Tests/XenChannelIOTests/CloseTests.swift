// SPDX-License-Identifier: MIT

import Testing
import XenBus
import XenChannels
import XenHypervisor
import XenInterface

@testable import XenChannelIO

/// Ends that the store does not grant.
@Suite(.longest)
struct CloseTests {
    @Test func `a guest whose numbers the store keeps is closed all the same, and says what it holds`() throws {
        let folder = try Folder()
        let reactor = try Reactor()
        let host = LiveHost()
        let channels = try TestWorld.configurations(
            ["connection=socket,path=%/a.sock,name=a", "connection=socket,path=%/b.sock,name=b"],
            in: folder
        )
        let domain = try LiveToolstack(on: host).createGuest(name: "g", uuid: "0") { _ in channels }
        let guest = GuestDaemon(of: domain, on: reactor) { _ in .echo }
        let backend = BackendDaemon(of: host.controlDomain, on: reactor)
        var reports: [String] = []
        guest.onReport = { reports.append($0.description) }
        guest.start()
        backend.start()
        reactor.turn(until: "connected") { backend.channels.count { $0.isConnected } == 2 }
        // The guest may not take back what it published.
        let store = LiveStoreConnection(as: .dom0, to: host)
        let node = DevicePaths.frontend(DeviceID(1), of: domain.id).appending("ring-ref")
        let permissions = StorePermissions(owner: .dom0, others: .none, [.init(domain.id, .read)])
        #expect(store.perform(.setPermissions(node, permissions)) == .done)
        var isClosed = false
        guest.close(patience: .milliseconds(300)) { isClosed = true }
        reactor.turn(until: "closed") { isClosed }
        #expect(guest.channels.map(\.device) == [DeviceID(1)])
        #expect(reports.count { $0.contains("not closed within") } == 1)
        #expect(reports.last?.contains("/local/domain/1/device/console/1") == true)
        // What the backend can still find is still there; the other one is gone.
        #expect(host.leaks(of: domain.id).grants.count == 1)
    }
}
