// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenChannels
import XenExploration
import XenInterface

/// Both machines over a store in which somebody else writes what they like.
struct HostileStoreTests {
    /// Steps of either side and hostile writes in an order of choice; then the toolstack makes the device anew, and it must connect.
    private func check(_ choices: inout Choices, domain: DomainID) throws {
        var pair = HostilePair(domain: domain)
        pair.plug()
        for _ in 0..<choices.choose(below: 160) {
            let steps = pair.enabled
            if steps.isEmpty || choices.chance(1, in: 4) {
                let request = pair.disturbance(&choices)
                choices.note("\(request)")
                pair.disturb(request, asGuest: choices.bool())
            } else {
                let step = choices.pick(from: steps)
                choices.note("\(step)")
                try pair.take(step)
            }
        }
        pair.unplug()
        try pair.settle()
        pair.plug()
        try pair.settle()
        try require(pair.isConnected, "not connected: \(pair.guest.state), \(pair.daemon.state)")
        try require(pair.frontendState == "4" && pair.backendState == "4", "connected, but the store says else")
    }

    @Test func `whatever stands in the store, no machine traps or babbles, and a sane peer connects (B34, B35)`() {
        checkProperty(cases: 300) { choices in try check(&choices, domain: DomainID(1)) }
    }

    @Test func `the same where frontend and backend are in one domain`() {
        checkProperty(cases: 150) { choices in try check(&choices, domain: .dom0) }
    }
}
