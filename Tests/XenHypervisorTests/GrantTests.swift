// SPDX-License-Identifier: MIT

import Testing
import XenHypervisor
import XenInterface

private let guest = DomainID(1)
private let driver = DomainID(2)
private let frame = FrameNumber(0x1234)

private func threeDomains(limits: DomainLimits = DomainLimits()) throws -> Hypervisor {
    var hypervisor = Hypervisor(limits: limits)
    try hypervisor.createDomain(guest, limits: limits)
    try hypervisor.createDomain(driver, limits: limits)
    return hypervisor
}

struct GrantTests {
    @Test func `references begin at 8, and 0 and 1 are the builder's (F2, B2)`() throws {
        var hypervisor = try threeDomains()
        #expect(try hypervisor.grantAccess(to: .dom0, frame: frame, readOnly: false, of: guest) == GrantReference(8))
        #expect(try hypervisor.grantAccess(to: .dom0, frame: frame, readOnly: false, of: guest) == GrantReference(9))
        hypervisor.seedGrant(.console, of: guest, to: .dom0, frame: FrameNumber(3))
        hypervisor.seedGrant(.xenstore, of: guest, to: .dom0, frame: FrameNumber(4))
        let console = try hypervisor.map(.console, of: guest, readOnly: false, by: .dom0)
        #expect(console.frame == FrameNumber(3))
        #expect(try hypervisor.map(.xenstore, of: guest, readOnly: false, by: .dom0).frame == FrameNumber(4))
        #expect(throws: GrantError.notGranted(.console)) {
            try hypervisor.map(.console, of: guest, readOnly: false, by: driver)
        }
    }

    @Test func `an ended reserved reference is not given out`() throws {
        var hypervisor = try threeDomains()
        hypervisor.seedGrant(.console, of: guest, to: .dom0, frame: frame)
        try hypervisor.endAccess(.console, of: guest)
        #expect(try hypervisor.grantAccess(to: .dom0, frame: frame, readOnly: false, of: guest) == GrantReference(8))
    }

    @Test func `mapping says whose page it is, and what is wrong if it fails (F3)`() throws {
        var hypervisor = try threeDomains()
        let reference = try hypervisor.grantAccess(to: .dom0, frame: frame, readOnly: true, of: guest)
        let before = hypervisor
        #expect(throws: GrantError.badDomain(DomainID(5))) {
            try hypervisor.map(reference, of: DomainID(5), readOnly: true, by: .dom0)
        }
        for wrong: UInt32 in [512, 70_000, .max] {
            #expect(throws: GrantError.badReference(GrantReference(wrong))) {
                try hypervisor.map(GrantReference(wrong), of: guest, readOnly: true, by: .dom0)
            }
        }
        for empty: UInt32 in [0, 7, 9, 511] {
            #expect(throws: GrantError.notGranted(GrantReference(empty))) {
                try hypervisor.map(GrantReference(empty), of: guest, readOnly: true, by: .dom0)
            }
        }
        #expect(throws: GrantError.notGranted(reference)) {
            try hypervisor.map(reference, of: guest, readOnly: true, by: driver)
        }
        #expect(throws: GrantError.notGranted(reference)) {
            try hypervisor.map(reference, of: guest, readOnly: false, by: .dom0)
        }
        #expect(hypervisor == before, "a refusal leaves no trace")
        let mapping = try hypervisor.map(reference, of: guest, readOnly: true, by: .dom0)
        #expect(mapping.owner == guest && mapping.mapper == .dom0 && mapping.frame == frame && mapping.isReadOnly)
        #expect(hypervisor.isMapped(mapping))
    }

    @Test func `each of several maps has a handle, to be used once (F4)`() throws {
        var hypervisor = try threeDomains()
        let reference = try hypervisor.grantAccess(to: .dom0, frame: frame, readOnly: false, of: guest)
        let first = try hypervisor.map(reference, of: guest, readOnly: false, by: .dom0)
        let second = try hypervisor.map(reference, of: guest, readOnly: true, by: .dom0)
        #expect(first.handle != second.handle)
        #expect(hypervisor.grant(reference, of: guest)?.flags == UInt16(1 | 8 | 16))
        #expect(try hypervisor.unmap(first, by: .dom0) == nil)
        #expect(!hypervisor.isMapped(first))
        #expect(hypervisor.grant(reference, of: guest)?.flags == UInt16(1 | 8))
        #expect(throws: GrantError.badHandle) { try hypervisor.unmap(first, by: .dom0) }
        #expect(throws: GrantError.badHandle) { try hypervisor.unmap(second, by: driver) }
        #expect(try hypervisor.unmap(second, by: .dom0) == nil)
        #expect(hypervisor.grant(reference, of: guest)?.flags == 1)
    }

    @Test func `an old handle never hits a newer mapping`() throws {
        var hypervisor = try threeDomains()
        let reference = try hypervisor.grantAccess(to: .dom0, frame: frame, readOnly: false, of: guest)
        let old = try hypervisor.map(reference, of: guest, readOnly: false, by: .dom0)
        _ = try hypervisor.unmap(old, by: .dom0)
        let new = try hypervisor.map(reference, of: guest, readOnly: false, by: .dom0)
        #expect(old.handle.number == new.handle.number)
        #expect(throws: GrantError.badHandle) { try hypervisor.unmap(old, by: .dom0) }
        #expect(hypervisor.isMapped(new))
    }

    @Test func `a mapped grant cannot be ended (F5)`() throws {
        var hypervisor = try threeDomains()
        let reference = try hypervisor.grantAccess(to: .dom0, frame: frame, readOnly: false, of: guest)
        let mapping = try hypervisor.map(reference, of: guest, readOnly: false, by: .dom0)
        #expect(throws: GrantError.inUse(reference)) { try hypervisor.endAccess(reference, of: guest) }
        #expect(hypervisor.isGranted(frame, of: guest))
        _ = try hypervisor.unmap(mapping, by: .dom0)
        try hypervisor.endAccess(reference, of: guest)
        #expect(!hypervisor.isGranted(frame, of: guest))
        #expect(throws: GrantError.badReference(reference)) { try hypervisor.endAccess(reference, of: guest) }
        #expect(throws: GrantError.notGranted(reference)) {
            try hypervisor.map(reference, of: guest, readOnly: false, by: .dom0)
        }
    }

    @Test func `pages that are mapped outlive their domain, one by one (F6)`() throws {
        var hypervisor = try threeDomains()
        let twice = FrameNumber(2)
        let references = try [frame, twice, twice, FrameNumber(7)].map {
            try hypervisor.grantAccess(to: .dom0, frame: $0, readOnly: false, of: guest)
        }
        let mappings = try references.prefix(3).map { try hypervisor.map($0, of: guest, readOnly: false, by: .dom0) }
        let remains = try hypervisor.destroyDomain(guest)
        #expect(remains.heldFrames == [twice, frame])
        #expect(remains.released.isEmpty)
        #expect(hypervisor.status(of: guest) == .zombie)
        #expect(mappings.allSatisfy(hypervisor.isMapped))
        #expect(throws: DomainError.exists(guest)) { try hypervisor.createDomain(guest) }
        #expect(throws: GrantError.badDomain(guest)) {
            try hypervisor.map(references[3], of: guest, readOnly: false, by: .dom0)
        }
        #expect(try hypervisor.unmap(mappings[1], by: .dom0) == nil)
        #expect(try hypervisor.unmap(mappings[2], by: .dom0) == ReleasedPage(domain: guest, frame: twice))
        #expect(hypervisor.heldFrames(of: guest) == [frame])
        #expect(try hypervisor.unmap(mappings[0], by: .dom0) == ReleasedPage(domain: guest, frame: frame))
        #expect(hypervisor.status(of: guest) == .absent)
        try hypervisor.createDomain(guest)
        #expect(throws: GrantError.badHandle) { try hypervisor.unmap(mappings[0], by: .dom0) }
    }

    @Test func `a backend that dies lets go of what it mapped`() throws {
        var hypervisor = try threeDomains()
        let reference = try hypervisor.grantAccess(to: driver, frame: frame, readOnly: false, of: guest)
        let dead = FrameNumber(8)
        let zombie = try hypervisor.createDomain()
        let held = try hypervisor.grantAccess(to: driver, frame: dead, readOnly: true, of: zombie)
        _ = try hypervisor.map(reference, of: guest, readOnly: false, by: driver)
        _ = try hypervisor.map(held, of: zombie, readOnly: true, by: driver)
        #expect(try hypervisor.destroyDomain(zombie).heldFrames == [dead])
        let remains = try hypervisor.destroyDomain(driver)
        #expect(remains.released == [ReleasedPage(domain: zombie, frame: dead)])
        #expect(remains.heldFrames.isEmpty)
        #expect(hypervisor.status(of: zombie) == .absent)
        try hypervisor.endAccess(reference, of: guest)
    }

    @Test func `a domain that maps its own page does not keep itself as a zombie`() throws {
        var hypervisor = try threeDomains()
        let reference = try hypervisor.grantAccess(to: .current, frame: frame, readOnly: false, of: guest)
        _ = try hypervisor.map(reference, of: .current, readOnly: false, by: guest)
        #expect(try hypervisor.destroyDomain(guest) == DomainRemains())
        #expect(hypervisor.status(of: guest) == .absent)
    }

    @Test func `tables have an end`() throws {
        var hypervisor = try threeDomains(limits: DomainLimits(maximumGrants: 9, maximumMappings: 1))
        let reference = try hypervisor.grantAccess(to: .dom0, frame: frame, readOnly: false, of: guest)
        #expect(throws: GrantError.noSpace) {
            try hypervisor.grantAccess(to: .dom0, frame: frame, readOnly: false, of: guest)
        }
        let mapping = try hypervisor.map(reference, of: guest, readOnly: false, by: .dom0)
        #expect(throws: GrantError.noSpace) { try hypervisor.map(reference, of: guest, readOnly: false, by: .dom0) }
        #expect(hypervisor.grant(reference, of: guest)?.writers == 1)
        _ = try hypervisor.unmap(mapping, by: .dom0)
        _ = try hypervisor.map(reference, of: guest, readOnly: false, by: .dom0)
    }

    @Test func `the dead act no more`() throws {
        var hypervisor = try threeDomains()
        let reference = try hypervisor.grantAccess(to: .dom0, frame: frame, readOnly: false, of: guest)
        let mapping = try hypervisor.map(
            hypervisor.grantAccess(to: guest, frame: frame, readOnly: false, of: .dom0),
            of: .dom0,
            readOnly: false,
            by: guest
        )
        _ = try hypervisor.destroyDomain(guest)
        #expect(throws: GrantError.badDomain(guest)) {
            try hypervisor.grantAccess(to: .dom0, frame: frame, readOnly: false, of: guest)
        }
        #expect(throws: GrantError.badDomain(guest)) { try hypervisor.endAccess(reference, of: guest) }
        #expect(throws: GrantError.badDomain(guest)) { try hypervisor.unmap(mapping, by: guest) }
        #expect(throws: DomainError.noSuchDomain(guest)) { try hypervisor.destroyDomain(guest) }
    }

    @Test func `the report names all that is open, and nothing when all is closed (F7)`() throws {
        var hypervisor = try threeDomains()
        hypervisor.seedGrant(.console, of: guest, to: .dom0, frame: FrameNumber(3))
        #expect(hypervisor.leaks().isEmpty)
        let port = try hypervisor.allocateUnbound(in: guest, for: .dom0)
        let bound = try hypervisor.bindInterdomain(in: .dom0, remote: guest, port: port)
        let reference = try hypervisor.grantAccess(to: .dom0, frame: FrameNumber(4), readOnly: false, of: guest)
        let mapping = try hypervisor.map(reference, of: guest, readOnly: false, by: .dom0)
        #expect(
            hypervisor.leaks().description == """
                domain 0: port 1 is bound to port 1 of domain 1
                domain 1: port 1 is bound to port 1 of domain 0
                domain 1: grant 8 of frame 4 to domain 0, mapped 1 times
                domain 0: mapping 0 of frame 4 of domain 1 by grant 8
                """
        )
        #expect(hypervisor.leaks(of: .dom0).ports.count == 1)
        #expect(hypervisor.leaks(of: driver).isEmpty)
        _ = try hypervisor.destroyDomain(guest)
        #expect(
            hypervisor.leaks().description == """
                domain 0: port 1 waits for domain 1
                domain 0: mapping 0 of frame 4 of domain 1 by grant 8
                domain 1: destroyed, but pages of it are still mapped
                """
        )
        _ = try hypervisor.unmap(mapping, by: .dom0)
        try hypervisor.close(bound, of: .dom0)
        #expect(hypervisor.leaks().isEmpty)
    }
}

struct DomainTests {
    @Test func `domain numbers go upwards and come back only at the end`() throws {
        var hypervisor = Hypervisor()
        #expect(try hypervisor.createDomain() == DomainID(1))
        #expect(try hypervisor.createDomain() == DomainID(2))
        _ = try hypervisor.destroyDomain(DomainID(1))
        #expect(try hypervisor.createDomain() == DomainID(3))
        try hypervisor.createDomain(DomainID(4))
        #expect(try hypervisor.createDomain() == DomainID(5))
        #expect(hypervisor.livingDomains == [0, 2, 3, 4, 5].map { DomainID($0) })
    }

    @Test func `the numbers that mean something else are no domains (E8)`() throws {
        var hypervisor = Hypervisor()
        try hypervisor.createDomain(DomainID(0x7FEF))
        #expect(throws: DomainError.invalidNumber(.firstReserved)) { try hypervisor.createDomain(.firstReserved) }
        #expect(throws: DomainError.exists(.dom0)) { try hypervisor.createDomain(.dom0) }
        #expect(hypervisor.status(of: DomainID(0xFFFF)) == .absent)
    }

    @Test func `all numbers can be taken`() throws {
        var hypervisor = Hypervisor()
        for number in 1..<DomainID.firstReserved.rawValue {
            #expect(try hypervisor.createDomain() == DomainID(number))
        }
        #expect(throws: DomainError.noFreeNumber) { try hypervisor.createDomain() }
        _ = try hypervisor.destroyDomain(DomainID(77))
        #expect(try hypervisor.createDomain() == DomainID(77))
    }
}
