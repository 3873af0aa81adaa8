// SPDX-License-Identifier: MIT

public import XenInterface

/// What is still open in a hypervisor: ports, grants, mappings, dead domains that cannot go. The reserved grants of a domain are its builder's and no leak.
public struct HypervisorLeaks: Hashable, Sendable {
    /// A port that nobody closed.
    public struct Port: Hashable, Sendable {
        /// Whose port.
        public var domain: DomainID
        /// Its number.
        public var port: EventChannelPort
        /// What it is.
        public var state: EventChannelState
    }

    /// A grant that nobody ended.
    public struct Grant: Hashable, Sendable {
        /// Whose page.
        public var domain: DomainID
        /// The grant's number.
        public var reference: GrantReference
        /// To whom, which page, how often mapped.
        public var entry: GrantEntry
    }

    /// Open ports, by domain and number.
    public var ports: [Port] = []
    /// Live grants, by domain and reference.
    public var grants: [Grant] = []
    /// Live mappings, by mapping domain and handle.
    public var mappings: [GrantMapping] = []
    /// Dead domains of which pages are still mapped, by number.
    public var zombies: [DomainID] = []

    /// Whether nothing is left.
    public var isEmpty: Bool { ports.isEmpty && grants.isEmpty && mappings.isEmpty && zombies.isEmpty }
}

extension Hypervisor {
    /// What is still open, in all domains or in one: what a world reports when it finishes.
    public func leaks(of domain: DomainID? = nil) -> HypervisorLeaks {
        var leaks = HypervisorLeaks()
        for index in domains.indices {
            let number = DomainID(UInt16(index))
            guard domain == nil || domain == number else { continue }
            if domains[index].status == .zombie { leaks.zombies.append(number) }
            leaks.ports += openPorts(of: number).map {
                .init(domain: number, port: $0, state: state(of: $0, in: number))
            }
            for (reference, entry) in domains[index].grants.entries.enumerated() where reference >= GrantStore.reserved
            {
                guard let entry else { continue }
                leaks.grants.append(.init(domain: number, reference: GrantReference(UInt32(reference)), entry: entry))
            }
            leaks.mappings += domains[index].mappings.slots.compactMap(\.mapping)
        }
        return leaks
    }
}

extension HypervisorLeaks: CustomStringConvertible {
    /// A line for each thing that is left; empty if nothing is.
    public var description: String {
        let lines =
            ports.map(\.description) + grants.map(\.description) + mappings.map(\.description)
            + zombies.map { "domain \($0): destroyed, but pages of it are still mapped" }
        return lines.joined(separator: "\n")
    }
}

extension HypervisorLeaks.Port: CustomStringConvertible {
    /// For example `domain 1: port 3 is bound to port 2 of domain 0`.
    public var description: String {
        switch state {
        case .closed: "domain \(domain): port \(port) is closed"
        case .unbound(let remote): "domain \(domain): port \(port) waits for domain \(remote)"
        case .interdomain(let remote, let peer):
            "domain \(domain): port \(port) is bound to port \(peer) of domain \(remote)"
        }
    }
}

extension HypervisorLeaks.Grant: CustomStringConvertible {
    /// For example `domain 1: grant 8 of frame 4 to domain 0, mapped 1 times`.
    public var description: String {
        "domain \(domain): grant \(reference) of frame \(entry.frame) to domain \(entry.grantee), "
            + "mapped \(entry.readers + entry.writers) times"
    }
}

extension GrantMapping: CustomStringConvertible {
    /// For example `domain 0: mapping 0 of frame 4 of domain 1 by grant 8`.
    public var description: String {
        "domain \(mapper): mapping \(handle.number) of frame \(frame) of domain \(owner) by grant \(reference)"
            + (isReadOnly ? ", read-only" : "")
    }
}
