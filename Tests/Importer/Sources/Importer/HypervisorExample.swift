// SPDX-License-Identifier: MIT

import XenHypervisor
import XenInterface

/// Two domains and an event channel between them.
func hypervisorExample() throws {
    var xen = Hypervisor()
    let guest = try xen.createDomain()

    let offered = try xen.allocateUnbound(in: guest, for: .dom0)
    let bound = try xen.bindInterdomain(in: .dom0, remote: guest, port: offered)
    _ = xen.nextPending(of: .dom0)  // a port is pending as soon as it is bound

    let upcall = try xen.send(bound, from: .dom0)
    print(upcall?.domain == guest, xen.nextPending(of: guest) == offered)  // true true
    precondition(upcall?.domain == guest)
}
