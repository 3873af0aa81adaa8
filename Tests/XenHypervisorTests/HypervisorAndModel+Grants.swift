// SPDX-License-Identifier: MIT

import XenExploration
import XenHypervisor
import XenInterface

extension HypervisorAndModel {
    mutating func grant(_ domain: UInt16, _ grantee: UInt16, _ frame: UInt64, _ readOnly: Bool) {
        guard model.grants.filter({ $0.domain == domain }).count < 5 else { return }
        log.append("grant \(domain) to \(grantee) frame \(frame) read-only \(readOnly)")
        let result = Result { () throws(GrantError) in
            try hypervisor.grantAccess(
                to: DomainID(grantee),
                frame: FrameNumber(frame),
                readOnly: readOnly,
                of: DomainID(domain)
            )
        }
        guard model.alive.contains(domain) else { return expect(result, .failure(.badDomain(DomainID(domain)))) }
        guard case .success(let reference) = result else { return expect(0, 1) }
        expect(reference.rawValue >= 8 && model.grant(domain, reference.rawValue) == nil, true)
        model.grants.append(
            .init(domain: domain, reference: reference.rawValue, grantee: grantee, frame: frame, isReadOnly: readOnly)
        )
    }

    mutating func endAccess(_ domain: UInt16, _ reference: UInt32) {
        log.append("end \(domain) \(reference)")
        let expected = Result { () throws(GrantError) in
            guard model.alive.contains(domain) else { throw .badDomain(DomainID(domain)) }
            guard let grant = model.grant(domain, reference) else { throw .badReference(GrantReference(reference)) }
            guard !model.isMapped(grant) else { throw .inUse(GrantReference(reference)) }
            model.grants.removeAll { $0 == grant }
        }
        let result = Result { () throws(GrantError) in
            try hypervisor.endAccess(GrantReference(reference), of: DomainID(domain))
        }
        expect(result.map { 0 }, expected.map { 0 })
    }

    mutating func map(_ owner: UInt16, _ domain: UInt16, _ reference: UInt32, _ readOnly: Bool) {
        log.append("map \(owner) \(reference) by \(domain) read-only \(readOnly)")
        let expected = model.mapError(reference, of: owner, readOnly: readOnly, by: domain)
        let result = Result { () throws(GrantError) in
            try hypervisor.map(
                GrantReference(reference),
                of: DomainID(owner),
                readOnly: readOnly,
                by: DomainID(domain)
            )
        }
        switch result {
        case .failure(let error): expect(error, expected)
        case .success(let mapping):
            expect(expected, nil)
            expect(mapping.frame.rawValue, model.grant(owner, reference)?.frame)
            expect(model.mappings.contains { $0.mapper == mapping.mapper && $0.handle == mapping.handle }, false)
            model.mappings.append(mapping)
        }
    }

    /// Unmaps a live mapping, or one that is unmapped already.
    mutating func unmap() {
        let candidates = model.mappings + stale.suffix(2)
        guard !candidates.isEmpty else { return }
        let mapping = candidates[random.choose(below: candidates.count)]
        log.append("unmap \(mapping)")
        let result = Result { () throws(GrantError) in try hypervisor.unmap(mapping, by: mapping.mapper) }
        if model.mappings.contains(mapping) {
            expect(result, .success(model.unmap(mapping)))
            stale.append(mapping)
        } else {
            let isAlive = model.alive.contains(mapping.mapper.rawValue)
            expect(result, .failure(isAlive ? .badHandle : .badDomain(mapping.mapper)))
        }
    }
}
