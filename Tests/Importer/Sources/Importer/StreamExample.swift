// SPDX-License-Identifier: MIT

import Foundation
import XenChannelIO
import XenChannels

/// The bytes of a channel in this program, at both sides.
func streamExample() throws {
    let channel = try ChannelSpecification("connection=socket,path=/nowhere,name=org.example.agent.1")
    let host = LiveHost()
    let reactor = try Reactor()
    let backend = BackendDaemon(of: host.controlDomain, on: reactor)
    let domain = try LiveToolstack(on: host).createGuest(name: "guest", uuid: UUID().uuidString) { _ in
        (try? ChannelConfiguration.list([channel])) ?? []
    }
    let question = ChannelHandler.task { stream in
        await stream.write(Array("hello".utf8))
        for await chunk in stream.chunks {
            print(String(decoding: chunk, as: UTF8.self))  // hello
            break
        }
    }
    let echo = ChannelHandler.task { stream in
        var buffer = [UInt8](repeating: 0, count: 2048)
        while let count = await stream.read(into: &buffer) {
            guard await stream.write(buffer, 0..<count) == count else { break }
        }
        // The stream has ended, or the channel closes now.
    }
    let guest = GuestDaemon(of: domain, on: reactor) { _ in .handler(echo) }
    backend.handlers = { name in name == "org.example.agent.1" ? question : nil }  // in place of the socket
    backend.onChange = { status in
        if !status.isConnected { guest.close { backend.close { reactor.stop() } } }
    }
    guest.start()
    backend.start()
    reactor.run()
}
