// SPDX-License-Identifier: MIT

import Foundation
import XenChannelIO
import XenChannels

/// A world in one process: a real socket outside, an agent in a simulated guest.
func liveExample() throws {
    let path = FileManager.default.temporaryDirectory.appending(path: "importer-\(UUID().uuidString)").path()
    let channel = try ChannelSpecification("connection=socket,path=\(path),name=org.example.agent.1")

    let host = LiveHost()
    let reactor = try Reactor()
    let backend = BackendDaemon(of: host.controlDomain, on: reactor)
    let domain = try LiveToolstack(on: host).createGuest(name: "guest", uuid: UUID().uuidString) { _ in
        (try? ChannelConfiguration.list([channel])) ?? []
    }
    let guest = GuestDaemon(of: domain, on: reactor) { name in name == "org.example.agent.1" ? .echo : .discard }
    backend.onChange = { status in
        print(status.name ?? "", status.isConnected)  // org.example.agent.1 true
        if status.isConnected { guest.close { backend.close { reactor.stop() } } }
    }
    guest.start()
    backend.start()
    reactor.run()
}
