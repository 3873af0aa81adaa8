// SPDX-License-Identifier: MIT

public import XenInterface

extension Hypervisor {
    /// Lets `grantee` map a page of `domain`. The reference is 8 or above (F2).
    ///
    /// Granting is a write to the domain's own table: nobody looks whether the grantee exists, and a page may be granted several times.
    public mutating func grantAccess(
        to grantee: DomainID,
        frame: FrameNumber,
        readOnly: Bool,
        of domain: DomainID
    ) throws(GrantError) -> GrantReference {
        guard status(of: domain) == .alive else { throw .badDomain(domain) }
        let index = Int(domain.rawValue)
        let entry = GrantEntry(
            grantee: resolve(grantee, for: domain),
            frame: frame,
            isReadOnly: readOnly,
            readers: 0,
            writers: 0
        )
        let maximum = domains[index].limits.maximumGrants
        guard let number = domains[index].grants.add(entry, maximum: maximum) else { throw .noSpace }
        return GrantReference(UInt32(number))
    }

    /// Fills one of the 8 reserved entries, as the domain builder does for `GrantReference.console` and `.xenstore` (B2, F2).
    ///
    /// Traps for a reference from 8 up, for one that is seeded already, and for a domain that does not live.
    public mutating func seedGrant(
        _ reference: GrantReference,
        of domain: DomainID,
        to grantee: DomainID,
        frame: FrameNumber
    ) {
        precondition(reference.rawValue < GrantStore.reserved, "not a reserved reference")
        precondition(status(of: domain) == .alive, "no such domain")
        precondition(domains[Int(domain.rawValue)].grants.entry(reference) == nil, "seeded already")
        domains[Int(domain.rawValue)].grants.entries[Int(reference.rawValue)] = GrantEntry(
            grantee: grantee,
            frame: frame,
            isReadOnly: false,
            readers: 0,
            writers: 0
        )
    }

    /// Takes a grant back. Fails with `.inUse` while the page is mapped: a grant cannot be revoked (F5).
    public mutating func endAccess(_ reference: GrantReference, of domain: DomainID) throws(GrantError) {
        guard status(of: domain) == .alive else { throw .badDomain(domain) }
        guard let entry = domains[Int(domain.rawValue)].grants.entry(reference) else { throw .badReference(reference) }
        guard !entry.isMapped else { throw .inUse(reference) }
        domains[Int(domain.rawValue)].grants.end(Int(reference.rawValue))
    }

    /// Maps a page that `owner` granted to `domain`: `GNTTABOP_map_grant_ref` (F3). Several maps of one grant have handles of their own (F4).
    public mutating func map(
        _ reference: GrantReference,
        of owner: DomainID,
        readOnly: Bool,
        by domain: DomainID
    ) throws(GrantError) -> GrantMapping {
        guard status(of: domain) == .alive else { throw .badDomain(domain) }
        let owner = resolve(owner, for: domain)
        guard status(of: owner) == .alive else { throw .badDomain(owner) }
        guard reference.rawValue < domains[Int(owner.rawValue)].grants.size else { throw .badReference(reference) }
        let granted = domains[Int(owner.rawValue)].grants.entry(reference)
        guard let entry = granted, entry.grantee == domain, readOnly || !entry.isReadOnly else {
            throw .notGranted(reference)
        }
        let index = Int(domain.rawValue)
        let maximum = domains[index].limits.maximumMappings
        guard let handle = domains[index].mappings.allocate(maximum: maximum) else { throw .noSpace }
        let mapping = GrantMapping(
            handle: handle,
            mapper: domain,
            owner: owner,
            reference: reference,
            frame: entry.frame,
            isReadOnly: readOnly
        )
        domains[index].mappings.slots[Int(handle.number)].mapping = mapping
        domains[Int(owner.rawValue)].grants.count(1, reference: reference, readOnly: readOnly)
        return mapping
    }

    /// Unmaps: `GNTTABOP_unmap_grant_ref`. Returns the page if nobody can reach it any more, so that the world frees its memory.
    ///
    /// Fails with `.badHandle` if `domain` has no such mapping, or not any more (F4).
    public mutating func unmap(_ mapping: GrantMapping, by domain: DomainID) throws(GrantError) -> ReleasedPage? {
        guard status(of: domain) == .alive else { throw .badDomain(domain) }
        guard domains[Int(domain.rawValue)].mappings.remove(mapping) else { throw .badHandle }
        return forget(mapping)
    }

    /// Whether a mapping can still be used: a world checks this to catch a use after unmap (F7).
    public func isMapped(_ mapping: GrantMapping) -> Bool {
        let index = Int(mapping.mapper.rawValue)
        let number = Int(mapping.handle.number)
        guard index < domains.count, number < domains[index].mappings.slots.count else { return false }
        return domains[index].mappings.slots[number].mapping == mapping
    }

    /// Whether a page is in a live grant: a guest must not use it for anything else (F7). Looks at all grants of the domain.
    public func isGranted(_ frame: FrameNumber, of domain: DomainID) -> Bool {
        guard status(of: domain) == .alive else { return false }
        return domains[Int(domain.rawValue)].grants.entries.contains { $0?.frame == frame }
    }

    /// An entry of a domain's grant table; nil if it is empty.
    public func grant(_ reference: GrantReference, of domain: DomainID) -> GrantEntry? {
        guard Int(domain.rawValue) < domains.count else { return nil }
        return domains[Int(domain.rawValue)].grants.entry(reference)
    }

    /// Pages of a dead domain that are still mapped, by ascending number.
    public func heldFrames(of domain: DomainID) -> [FrameNumber] {
        guard Int(domain.rawValue) < domains.count else { return [] }
        return domains[Int(domain.rawValue)].heldPages.map(\.frame)
    }

    /// Gives back what a mapping held of its owner: a count in a living domain's table, a page of a dead one.
    mutating func forget(_ mapping: GrantMapping) -> ReleasedPage? {
        let owner = Int(mapping.owner.rawValue)
        guard domains[owner].status == .zombie else {
            domains[owner].grants.count(-1, reference: mapping.reference, readOnly: mapping.isReadOnly)
            return nil
        }
        guard let page = domains[owner].heldPages.firstIndex(where: { $0.frame == mapping.frame }) else { return nil }
        domains[owner].heldPages[page].count -= 1
        guard domains[owner].heldPages[page].count == 0 else { return nil }
        domains[owner].heldPages.remove(at: page)
        if domains[owner].heldPages.isEmpty { domains[owner] = Domain() }
        return ReleasedPage(domain: mapping.owner, frame: mapping.frame)
    }
}
