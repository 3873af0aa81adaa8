// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenBus
import XenExploration
import XenInterface

/// A backend maps what it reads: the page may not go before the numbers that name it.
struct RetractionTests {
    @Test(arguments: ["ring-ref", "port"], [StoreErrorCode.accessDenied, .quota, .noSpace, .inputOutput, .again])
    func `a number that the store keeps keeps the page, is reported once, and asked for again (F5, B33)`(
        name: String,
        code: StoreErrorCode
    ) throws {
        var guest = FrontendOnStore()
        try guest.connect()
        let node = guest.directory.appending(name)
        guest.refusals[.remove(node)] = code
        guest.nodes[guest.backendState] = "6"
        try guest.give(.backendChanged)
        #expect(guest.machine.state == .holding)
        #expect(guest.reports == [DeviceDiagnostic(node, .notRetracted(code))])
        for _ in 0..<3 { try guest.give(.timeout) }
        #expect(guest.machine.state == .holding)
        #expect(guest.hasTimer && guest.reports.count == 1 && !guest.wasReleased)
        guest.refusals = [:]
        try guest.give(.timeout)
        #expect(guest.machine.state == .finished && guest.wasReleased)
        #expect(guest.reports.count == 1)
    }

    @Test func `a refused state 6 is said again before anything is taken back`() throws {
        var guest = FrontendOnStore()
        try guest.connect()
        let state = guest.directory.appending("state")
        guest.refusals[.write(state, "6")] = .accessDenied
        guest.nodes[guest.backendState] = "6"
        try guest.give(.backendChanged)
        for _ in 0..<3 { try guest.give(.timeout) }
        #expect(guest.machine.state == .holding)
        #expect(guest.nodes[guest.directory.appending("ring-ref")] != nil)
        #expect(guest.reports == [DeviceDiagnostic(state, .refused(.accessDenied))])
        guest.refusals = [:]
        try guest.give(.timeout)
        #expect(guest.nodes[state] == "6")
        #expect(guest.machine.state == .finished)
    }

    @Test func `a directory that is gone ends the wait, though the store refuses what is not there (D11)`() throws {
        var guest = FrontendOnStore()
        try guest.connect()
        for name in ["ring-ref", "port"] {
            guest.refusals[.remove(guest.directory.appending(name))] = .accessDenied
        }
        guest.nodes[guest.backendState] = "6"
        try guest.give(.backendChanged)
        #expect(guest.machine.state == .holding)
        guest.nodes = [:]
        try guest.give(.removed)
        #expect(guest.machine.state == .finished && guest.wasReleased && !guest.hasTimer)
    }

    /// The directory of a connected frontend was made anew, or seemed to be gone at a look: its numbers may be there.
    @Test func `a device that begins another life takes its numbers back first`() throws {
        var guest = FrontendOnStore()
        try guest.connect()
        guest.nodes[guest.directory.appending("state")] = "1"
        try guest.give(.ownChanged(.other))
        #expect(guest.wasReleased)
        #expect(guest.machine.state == .connected)
    }

    @Test func `a backend that was not told by its watch is looked at when the time is up`() throws {
        var guest = FrontendOnStore()
        try guest.connect()
        try guest.give(.close)
        #expect(guest.machine.state == .awaitingClosing)
        guest.nodes[guest.backendState] = "6"
        try guest.give(.timeout)
        #expect(guest.machine.state == .finished)
        #expect(guest.reports.isEmpty)
    }

    /// The store refuses anything at any time, and everything else happens in any order: `FrontendOnStore` checks each `.release`.
    @Test func `whatever the store refuses, no page goes before its numbers, and all goes once it refuses no more`() {
        checkProperty(cases: 1500) { choices in
            var guest = FrontendOnStore()
            guest.nodes[guest.directory.appending("state")] = StoreValue(
                decimal: choices.chance(3, in: 4) ? 1 : choices.integer(in: UInt8(1)...6)
            )
            for _ in 0..<choices.choose(below: 60) {
                guest.upset(&choices)
                try guest.step(&choices)
            }
            guest.refusals = [:]
            guest.nodes[guest.backendState] = "6"
            try guest.give(.close)
            for _ in 0..<12 where guest.machine.state != .finished { try guest.give(.timeout) }
            if guest.machine.state == .idle { return }
            try require(guest.machine.state == .finished, "never ends: \(guest.machine.state)")
        }
    }
}
