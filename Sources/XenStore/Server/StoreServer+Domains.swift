// SPDX-License-Identifier: MIT

public import XenInterface

/// What the store knows of a domain.
struct DomainRecord: Hashable, Sendable {
    let number: UInt32
    var isIntroduced = false
    /// The connection of its ring.
    var ring: StoreConnectionID?
    /// The domain whose rights it has as well.
    var target: Int32?
    /// The domains that have this one as their target, the latest last: they keep it (D25).
    var referrers: [UInt32] = []
    /// Whether the host no longer has the domain, and only referrers keep it.
    var isGone = false
    /// The features it is offered, if they were set.
    var features: UInt32?
}

/// What many requests ask of a domain: kept apart, by its number.
struct DomainTally: Hashable, Sendable {
    /// The store's stamp when it first heard of the domain: permissions older than this are not the domain's (D15). Nil if it does not know it.
    var since: UInt64?
    /// The nodes it owns.
    var nodeCount = 0
    var watchCount = 0
}

// Domains (D21 to D25).
extension StoreServer {
    /// What is counted of a domain: nothing, if the store does not know it.
    @inline(__always)
    func tally(of number: Int32) -> DomainTally {
        number >= 0 && number < tallies.count ? tallies[Int(number)] : DomainTally()
    }

    /// Counts what a domain has from now on, if the store knows it.
    mutating func count(nodes: Int = 0, watches: Int = 0, of number: Int32) {
        guard tally(of: number).since != nil else { return }
        tallies[Int(number)].nodeCount += nodes
        tallies[Int(number)].watchCount += watches
    }

    /// Says that the host has a domain; matters where only announced domains exist.
    public mutating func domainCreated(_ domain: DomainID) {
        announced.insert(UInt32(domain.rawValue))
    }

    /// Says that the host has a domain no more, as xenstored learns from `VIRQ_DOM_EXC`.
    ///
    /// If it was introduced it is released: its nodes are removed and `@releaseDomain` fires.
    public mutating func domainDestroyed(_ domain: DomainID, into sink: inout some StoreOutputSink & ~Copyable) {
        let number = UInt32(domain.rawValue)
        announced.remove(number)
        if number != 0, domains[number] != nil {
            domains[number]?.isGone = true
            if domains[number]?.referrers.isEmpty ?? true { removeDomain(number) }
        }
        drain(into: &sink)
    }

    /// Says that a domain shut down or crashed but is still there: `@releaseDomain` fires.
    public mutating func domainShutDown(_ domain: DomainID, into sink: inout some StoreOutputSink & ~Copyable) {
        if domains[UInt32(domain.rawValue)]?.isIntroduced ?? false { fire(special: "@releaseDomain") }
        drain(into: &sink)
    }

    /// Whether a domain is introduced; `DOMID_SELF` always is (D22).
    public func isIntroduced(_ domain: DomainID) -> Bool {
        isIntroduced(UInt32(domain.rawValue))
    }

    func isIntroduced(_ number: UInt32) -> Bool {
        number == DomainID.current.rawValue || domains[number]?.isIntroduced ?? false
    }

    /// Whether the host has a domain.
    func exists(_ number: UInt32) -> Bool {
        switch existence {
        case .every: number < DomainID.firstReserved.rawValue
        case .announced: announced.contains(number)
        }
    }

    /// Notes a domain, if it is new. An imported tree can name owners that no domain can be: nothing is counted of them.
    mutating func makeDomain(_ number: UInt32) {
        guard number < DomainID.firstReserved.rawValue, tally(of: Int32(number)).since == nil else { return }
        domains[number] = DomainRecord(number: number)
        while tallies.count <= number { tallies.append(DomainTally()) }
        tallies[Int(number)].since = generation
    }

    mutating func introduce(_ number: UInt32, frame: UInt32, port: UInt32) throws(StoreErrorCode) {
        guard port != 0, number < DomainID.firstReserved.rawValue, exists(number) else { throw .invalid }
        let domain = DomainID(UInt16(number))
        makeDomain(number)
        let isRepeated = domains[number]?.isIntroduced ?? false
        let connection = domains[number]?.ring ?? addConnection(of: domain)
        domains[number]?.ring = connection
        if isRepeated {
            if let slot = slot(of: connection) {
                removeWatches(of: slot)
                removeTransactions(of: slot)
            }
        } else {
            domains[number]?.isIntroduced = true
            fire(special: "@introduceDomain")
        }
        let introduction = StoreIntroduction(
            domain: domain,
            frame: FrameNumber(UInt64(frame)),
            port: EventChannelPort(port),
            connection: connection,
            isRepeated: isRepeated
        )
        put(out: .introduced(introduction))
    }

    /// RELEASE: a domain that is another's target loses one reference first, and stays (D25).
    mutating func release(_ number: UInt32) throws(StoreErrorCode) {
        try checkConnected(number)
        guard let referrer = domains[number]?.referrers.popLast() else { return removeDomain(number) }
        _ = referrer
    }

    func resume(_ number: UInt32) throws(StoreErrorCode) {
        try checkConnected(number)
    }

    private func checkConnected(_ number: UInt32) throws(StoreErrorCode) {
        guard number != 0 else { throw .invalid }
        guard let record = domains[number], record.isIntroduced else { throw .noEntry }
        guard !record.isGone else { throw .invalid }
    }

    mutating func setTarget(_ number: UInt32, _ target: UInt32) throws(StoreErrorCode) {
        for domain in [number, target] {
            guard let record = domains[domain], record.isIntroduced else { throw .noEntry }
            guard !record.isGone else { throw .invalid }
        }
        domains[target]?.referrers.append(number)
        domains[number]?.target = Int32(bitPattern: target)
        for slot in connections.indices where connections[slot].map({ UInt32($0.domain.rawValue) }) == number {
            connections[slot]?.target = Int32(bitPattern: target)
        }
    }

    /// Forgets a domain: its connections, the nodes it owns with all below them, its part in the special names' lists.
    private mutating func removeDomain(_ number: UInt32) {
        guard let record = domains[number] else { return }
        for slot in connections.indices where connections[slot].map({ UInt32($0.domain.rawValue) }) == number {
            guard let id = connections[slot]?.id else { continue }
            removeConnection(slot)
            put(out: .disconnected(id))
        }
        removeNodes(ownedBy: Int32(bitPattern: number))
        for name in ["@introduceDomain", "@releaseDomain"] { removeFromSpecial(name, Int32(bitPattern: number)) }
        domains[number] = nil
        tallies[Int(number)] = DomainTally()
        ownQuotas[Int32(bitPattern: number)] = nil
        if record.isIntroduced {
            put(out: .released(DomainID(UInt16(truncatingIfNeeded: number))))
            fire(special: "@releaseDomain")
        }
        dropReference(of: number, to: record.target)
    }

    /// The target of a domain that went is kept by one less.
    private mutating func dropReference(of number: UInt32, to target: Int32?) {
        for other in domains.keys.sorted() where domains[other]?.referrers.contains(number) ?? false {
            domains[other]?.referrers.removeAll { $0 == number }
            if domains[other]?.isGone ?? false, domains[other]?.referrers.isEmpty ?? false { removeDomain(other) }
        }
    }

    private mutating func removeNodes(ownedBy number: Int32) {
        guard tally(of: number).nodeCount > 0 else { return }
        let nobody = Caller(slot: -1, domain: 0, target: Caller.noTarget, transaction: nil)
        var pending = [StoreTree.root]
        while let place = pending.popLast() {
            guard tree.entries[Int(place)].exists else { continue }
            if permissions.owner(tree.entries[Int(place)].permissions) == number, place != StoreTree.root {
                try? removeTree(place, nil, nobody)
            } else {
                pending.append(contentsOf: tree.children(of: place).reversed())
            }
        }
    }

    private mutating func removeFromSpecial(_ name: String, _ number: Int32) {
        guard let old = specialPermissions[name] else { return }
        var list = permissions[old]
        if list[0].domain == number { list[0].domain = 0 }
        list = [list[0]] + list.dropFirst().filter { $0.domain != number }
        specialPermissions[name] = permissions.intern(list)
        permissions.release(old)
    }
}
