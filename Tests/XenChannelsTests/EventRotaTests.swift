// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenChannels
import XenExploration
import XenInterface

/// Whose event is next.
struct EventRotaTests {
    @Test func `a quiet domain's port waits for one event of each other domain at most`() {
        checkProperty(cases: 200) { choices in
            var rota = EventRota(budget: choices.integer(in: 1...8))
            let domains = choices.integer(in: 2...5)
            let quiet = DomainID(UInt16(domains))
            for _ in 0..<choices.choose(below: 60) {
                let domain = choices.choose(below: domains)
                _ = rota.add(
                    EventChannelPort(UInt32(domain * 100 + choices.choose(below: 50))),
                    of: DomainID(UInt16(domain))
                )
                if choices.chance(1, in: 3) { _ = rota.next() }
                if choices.chance(1, in: 20) { rota.refill() }
            }
            _ = rota.add(EventChannelPort(1000), of: quiet)
            var waited = 0
            while let port = rota.next(), port != EventChannelPort(1000) {
                waited += 1
                // The storm goes on.
                _ = rota.add(port, of: DomainID(UInt16(port.rawValue / 100)))
            }
            try require(waited <= domains, "\(waited) others came first, of \(domains) other domains")
        }
    }

    @Test func `a domain gets its budget and no more until all else had its turn, and no event is lost`() {
        checkProperty(cases: 200) { choices in
            let budget = choices.integer(in: 1...5)
            var rota = EventRota(budget: budget)
            // Each port of a domain has as much.
            let budgets = (0..<3).map { domain in
                let count = choices.integer(in: 0...3)
                rota.countPorts(of: DomainID(UInt16(domain)), adding: count)
                return budget * max(1, count)
            }
            var ready: [UInt32: Int] = [:]
            var served: [Int: Int] = [:]
            for _ in 0..<choices.choose(below: 300) {
                switch choices.choose(below: 5) {
                case 0, 1:
                    let port = UInt32(choices.choose(below: 20))
                    let domain = Int(port) % 3
                    let isNew = rota.add(EventChannelPort(port), of: DomainID(UInt16(domain)))
                    try requireEqual(isNew, ready[port] == nil, "whether it waits")
                    ready[port] = domain
                case 2, 3:
                    if let port = rota.next() {
                        let domain = ready.removeValue(forKey: port.rawValue) ?? -1
                        try require(domain >= 0, "port \(port) is served and was not ready")
                        served[domain, default: 0] += 1
                        try require(served[domain, default: 0] <= budgets[domain], "more than its budget")
                    } else {
                        try require(
                            ready.values.allSatisfy { served[$0, default: 0] == budgets[$0] },
                            "a port with budget left is not served"
                        )
                    }
                default:
                    guard choices.chance(1, in: 4) else { break }
                    rota.refill()
                    served = [:]
                }
                try requireEqual(rota.isEmpty, ready.isEmpty, "whether it is empty")
            }
        }
    }

    @Test func `a budget without end is one for any number of ports`() {
        var rota = EventRota(budget: .max)
        rota.countPorts(of: DomainID(1), adding: 4)
        for _ in 0..<3 {
            _ = rota.add(EventChannelPort(5), of: DomainID(1))
            let port = rota.next()
            #expect(port == EventChannelPort(5))
        }
    }

    @Test func `many ports of a domain are served in the order in which they became ready`() {
        var rota = EventRota(budget: 1000)
        var expected: [UInt32] = []
        var served: [UInt32] = []
        for round in 0..<4 as Range<UInt32> {
            for port in round * 100..<round * 100 + 100 {
                expected.append(port)
                let isNew = rota.add(EventChannelPort(port), of: DomainID(1))
                #expect(isNew)
            }
            for _ in 0..<80 { if let port = rota.next() { served.append(port.rawValue) } }
        }
        while let port = rota.next() { served.append(port.rawValue) }
        #expect(served == expected)
    }
}
