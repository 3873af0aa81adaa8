// SPDX-License-Identifier: MIT

import Foundation
import TestSupport
import Testing
import XenBus
import XenChannels
import XenInterface

@testable import XenChannelIO

@Suite(.timeLimit(.minutes(1)))
struct EndToEndTests {
    @Test func `lines through a socket channel come back from the guest's echo`() throws {
        let world = try TestWorld(channels: ["connection=socket,path=%/a.sock,name=org.example.agent.1"])
        defer { world.stop() }
        let client = try world.connect("a.sock")
        try client.send([UInt8]("hello\n".utf8))
        #expect(try client.receive(6) == [UInt8]("hello\n".utf8))
    }

    @Test func `a million bytes come back in order`() throws {
        let world = try TestWorld(channels: ["connection=socket,path=%/a.sock,name=org.example.agent.1"])
        defer { world.stop() }
        let client = try world.connect("a.sock")
        let sent = (0..<1_000_000).map { UInt8(truncatingIfNeeded: $0 &* 2_654_435_761 >> 7) }
        let sender = Thread { try? client.send(sent) }
        sender.start()
        #expect(try client.receive(sent.count) == sent)
    }
}
