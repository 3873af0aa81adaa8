// SPDX-License-Identifier: MIT

public import XenInterface

/// A hypervisor in memory: domains, their event channels, their grant tables. A value, so that a world can copy, compare and replay it.
///
/// It knows no memory and no threads. A grant names a `FrameNumber` of the granting domain, a mapping says which page of which
/// domain it is, and the world that holds the hypervisor keeps the pages. `send(_:from:)` says whom to wake. Domain 0 exists from the start.
///
/// All operations name the domain that acts, and fail as the hypercalls do; a domain that has been destroyed meanwhile fails with
/// "no such domain" and cannot trap anything.
public struct Hypervisor: Hashable, Sendable {
    var domains: [Domain]
    /// The number at which the search for a new domain's number begins: numbers are not used again soon.
    var nextNumber: UInt16 = 1

    /// Makes a hypervisor with domain 0 only, which may have as many ports as there are: the 1023 are what libxl gives a guest (E8).
    public init(limits: DomainLimits = DomainLimits(maximumPort: 1 << 17 - 1)) {
        domains = [Domain(limits: limits)]
    }

    /// Whether a domain lives, is dead but not gone, or is not there.
    public func status(of domain: DomainID) -> DomainStatus {
        let index = Int(domain.rawValue)
        return index < domains.count ? domains[index].status : .absent
    }

    /// The living domains, by ascending number.
    public var livingDomains: [DomainID] {
        domains.indices.filter { domains[$0].status == .alive }.map { DomainID(UInt16($0)) }
    }

    /// Makes a domain with a number of the hypervisor's choosing: `XEN_DOMCTL_createdomain` with domid 0.
    ///
    /// Numbers go upwards, and begin again at 1 only when the last one below `DomainID.firstReserved` has been used.
    public mutating func createDomain(limits: DomainLimits = DomainLimits()) throws(DomainError) -> DomainID {
        var candidate = nextNumber
        for _ in 1..<DomainID.firstReserved.rawValue {
            let number = candidate
            candidate = number + 1 < DomainID.firstReserved.rawValue ? number + 1 : 1
            guard status(of: DomainID(number)) == .absent else { continue }
            nextNumber = candidate
            try createDomain(DomainID(number), limits: limits)
            return DomainID(number)
        }
        throw .noFreeNumber
    }

    /// Makes a domain with a given number.
    ///
    /// Fails with `.exists` for a living domain and for one whose pages are still mapped, with `.invalidNumber` for a number that no domain can have.
    public mutating func createDomain(
        _ domain: DomainID,
        limits: DomainLimits = DomainLimits()
    ) throws(DomainError) {
        guard domain.isValid else { throw .invalidNumber(domain) }
        guard status(of: domain) == .absent else { throw .exists(domain) }
        while domains.count <= Int(domain.rawValue) { domains.append(Domain()) }
        domains[Int(domain.rawValue)] = Domain(limits: limits)
    }

    /// Ends a domain: `XEN_DOMCTL_destroydomain`.
    ///
    /// Its ports close as if it had closed them (E7), its own mappings go, its grants end. Pages that others still map stay: the domain is
    /// a zombie then, its number taken, until the last of those mappings goes (F6). Domain 0 cannot be destroyed: that traps.
    public mutating func destroyDomain(_ domain: DomainID) throws(DomainError) -> DomainRemains {
        precondition(domain != .dom0, "domain 0 cannot be destroyed")
        guard status(of: domain) == .alive else { throw .noSuchDomain(domain) }
        let index = Int(domain.rawValue)
        for number in domains[index].events.slots.indices where domains[index].events.isOpen(number) {
            closePort(number, of: domain)
        }
        var remains = DomainRemains()
        for slot in domains[index].mappings.slots {
            guard let mapping = slot.mapping else { continue }
            if let page = forget(mapping) { remains.released.append(page) }
        }
        let held = domains[index].grants.heldPages
        domains[index] = Domain()
        if !held.isEmpty {
            domains[index].status = .zombie
            domains[index].heldPages = held
        }
        remains.heldFrames = held.map(\.frame)
        return remains
    }
}

/// Whether there is a domain of a number.
@frozen
public enum DomainStatus: Hashable, Sendable {
    /// No such domain.
    case absent
    /// It runs.
    case alive
    /// It has been destroyed, but others still map pages of it (F6).
    case zombie
}

/// How much one domain may have.
@frozen
public struct DomainLimits: Hashable, Sendable {
    /// The highest port: `max_event_channels`, 1023 if the toolstack says nothing (E8).
    public var maximumPort: Int
    /// How many grant references there are, the 8 reserved ones included.
    public var maximumGrants: Int
    /// How many pages of others it may map at a time.
    public var maximumMappings: Int

    /// Makes limits; the defaults of grants and mappings are 64 and 1024 pages of table entries.
    ///
    /// Traps if there would be more ports than `EVTCHN_FIFO_NR_CHANNELS`, 2¹⁷ (E8), or fewer grants than are reserved.
    @inlinable
    public init(maximumPort: Int = 1023, maximumGrants: Int = 32_768, maximumMappings: Int = 262_144) {
        precondition(maximumPort >= 0 && maximumPort < 1 << 17, "more ports than Xen has")
        precondition(maximumGrants >= 8 && maximumMappings >= 0, "no room for the reserved grants")
        self.maximumPort = maximumPort
        self.maximumGrants = maximumGrants
        self.maximumMappings = maximumMappings
    }
}

/// What making and ending a domain fails with.
public enum DomainError: Error, Hashable, Sendable {
    /// `EEXIST`: the number is taken, by a domain or by what is left of one.
    case exists(DomainID)
    /// `ESRCH`: no such domain.
    case noSuchDomain(DomainID)
    /// `EINVAL`: one of the reserved numbers.
    case invalidNumber(DomainID)
    /// `ENOMEM`: all numbers are taken.
    case noFreeNumber
}

extension DomainError: CustomStringConvertible {
    /// What is wrong with which number.
    public var description: String {
        switch self {
        case .exists(let domain): "domain \(domain) exists, or pages of it are still mapped"
        case .noSuchDomain(let domain): "there is no domain \(domain)"
        case .invalidNumber(let domain): "\(domain) cannot be a domain's number"
        case .noFreeNumber: "all domain numbers are taken"
        }
    }
}

/// What a destroyed domain leaves behind.
public struct DomainRemains: Hashable, Sendable {
    /// Its pages that others still map, by ascending number: the world keeps these and frees all others.
    public var heldFrames: [FrameNumber] = []
    /// Pages of domains that died earlier and that this one was the last to map: the world frees them.
    public var released: [ReleasedPage] = []

    /// Nothing left.
    public init() {}
}

extension GrantStore {
    /// The pages that are mapped, with the number of their mappings, by ascending frame.
    var heldPages: [HeldPage] {
        let mapped = entries.compactMap { $0 }.filter(\.isMapped).sorted { $0.frame.rawValue < $1.frame.rawValue }
        var pages: [HeldPage] = []
        for entry in mapped {
            if let last = pages.indices.last, pages[last].frame == entry.frame {
                pages[last].count += entry.readers + entry.writers
            } else {
                pages.append(HeldPage(frame: entry.frame, count: entry.readers + entry.writers))
            }
        }
        return pages
    }
}
