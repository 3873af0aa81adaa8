// SPDX-License-Identifier: MIT

import Testing
import XenHypervisor
import XenInterface

/// The least a world can be.
private final class World: HypervisorHost {
    var hypervisor = Hypervisor()
    var upcalls: [Upcall] = []
    var freed: [ReleasedPage] = []

    func withHypervisor<Result, Failure: Error>(
        _ body: (inout Hypervisor) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try body(&hypervisor)
    }

    func deliver(_ upcall: Upcall) { upcalls.append(upcall) }
    func free(_ page: ReleasedPage) { freed.append(page) }
}

struct HostTests {
    @Test func `two domains talk through the service protocols alone`() throws {
        let world = World()
        let guest = try world.hypervisor.createDomain()
        var frontend = DomainEventChannels(of: guest, in: world)
        var backend = DomainEventChannels(of: .dom0, in: world)

        let port = try frontend.allocateUnbound(for: .dom0)
        try frontend.notify(port)
        #expect(world.upcalls.isEmpty)
        let bound = try backend.bindInterdomain(guest, port: port)
        #expect(world.upcalls == [Upcall(domain: .dom0, port: bound, isFirst: true)])
        #expect(backend.nextPending() == bound)
        try backend.notify(bound)
        try backend.notify(bound)
        #expect(world.upcalls.dropFirst() == [Upcall(domain: guest, port: port, isFirst: true)])
        #expect(frontend.nextPending() == port)
        #expect(throws: EventChannelError.invalidPort(EventChannelPort(9))) {
            try frontend.notify(EventChannelPort(9))
        }
        try frontend.close(port)
        try backend.close(bound)

        var grants = DomainGrants(of: guest, in: world)
        var maps = DomainGrants(of: .dom0, in: world)
        let reference = try grants.grantAccess(to: .dom0, page: FrameNumber(6), readOnly: false)
        let mapping = try maps.map(reference, of: guest, readOnly: false)
        #expect(throws: GrantError.inUse(reference)) { try grants.endAccess(reference) }
        #expect(try world.hypervisor.destroyDomain(guest).heldFrames == [FrameNumber(6)])
        try maps.unmap(mapping)
        #expect(world.freed == [ReleasedPage(domain: guest, frame: FrameNumber(6))])
        #expect(throws: GrantError.badHandle) { try maps.unmap(mapping) }
        #expect(world.hypervisor.leaks().isEmpty)
    }
}
