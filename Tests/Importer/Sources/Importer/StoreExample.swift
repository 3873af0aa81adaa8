// SPDX-License-Identifier: MIT

import XenInterface
import XenStore

/// A xenstore without Xen.
func storeExample() throws {
    let host = StoreHost()
    let toolstack = host.connect(as: .dom0)
    let guest = host.connect(as: DomainID(1))

    let node = StorePath.domain(DomainID(1)).appending("data")
    _ = toolstack.perform(.write(node, "hello"), in: .none)
    _ = toolstack.perform(.setPermissions(node, .owned(by: .dom0, readableBy: DomainID(1))), in: .none)

    print(guest.perform(.read(node), in: .none))  // value("hello")
    print(guest.perform(.write(node, "mine"), in: .none))  // failure(EACCES)
    precondition(guest.perform(.read(node), in: .none) == .value("hello"))
    precondition(guest.perform(.write(node, "mine"), in: .none) == .failure(.accessDenied))
}
