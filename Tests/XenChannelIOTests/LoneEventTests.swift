// SPDX-License-Identifier: MIT

import Testing
import XenHypervisor
import XenInterface

@testable import XenChannelIO

/// When an event is served before all others, and when it waits for its turn.
@Suite(.longest)
struct LoneEventTests {
    /// More ports of the echo's guest, with what sends to each: none of them answers.
    private func morePorts(_ count: Int, of echo: PortEcho) throws -> [(listener: PortListener, peer: EventChannelPort)]
    {
        try (0..<count).map { _ in
            let listener = PortListener()
            let port = try echo.guest.events.allocateUnbound(for: .dom0)
            let peer = try echo.dom0.events.bindInterdomain(echo.guest.id, port: port)
            echo.service.register(listener, at: port, of: echo.guest.id)
            return (listener, peer)
        }
    }

    @Test func `an event that comes while others wait goes behind them`() throws {
        let echo = try PortEcho()
        let others = try morePorts(2, of: echo)
        echo.within {
            for other in others { echo.dom0.notify(other.peer) }
            #expect(echo.reactor.loneEvent.queuedCount == 2)
            try echo.send()
            #expect(echo.reactor.loneEvent.queuedCount == 3 && echo.reactor.loneEvent.isEmpty)
        }
        #expect(echo.answers == 1 && echo.reactor.loneEvent.queuedCount == 0)
        // The listeners go after the service.
        withExtendedLifetime(others) { echo.service.cancel() }
    }

    @Test func `a port whose event waits alone still has it alone when it is told again`() throws {
        let echo = try PortEcho()
        echo.within {
            for _ in 0..<3 { try echo.send() }
            #expect(echo.reactor.loneEvent.queuedCount == 0 && !echo.reactor.loneEvent.isEmpty)
        }
        #expect(echo.answers == 1)
    }

    @Test func `an event of a port that is unregistered before its turn is told to nobody`() throws {
        let echo = try PortEcho()
        echo.within {
            try echo.send()
            #expect(!echo.reactor.loneEvent.isEmpty)
            echo.service.unregister(echo.port)
            #expect(echo.reactor.loneEvent.isEmpty)
        }
        #expect(echo.answers == 0)
    }
}
