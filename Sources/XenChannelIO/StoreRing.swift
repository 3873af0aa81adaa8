// SPDX-License-Identifier: MIT

import XenHypervisor
import XenInterface
import XenRing
import XenStore

/// A guest's xenstore page as the live store serves it. Used with the store's lock held.
final class StoreRing {
    let domain: DomainID
    let id: StoreConnectionID
    /// Domain 0's end of the event channel.
    let port: EventChannelPort
    var conversation: StoreRingConversation<SharedPage>
    /// Whether it is among those to be flushed.
    var isTouched = false
    private let memory: PageMemory

    init(_ introduction: StoreIntroduction, port: EventChannelPort, memory: PageMemory) {
        domain = introduction.domain
        id = introduction.connection
        self.port = port
        self.memory = memory
        conversation = StoreRingConversation(introducing: memory.page)
    }
}

/// What the store needs of its host to serve guests at their rings. Called with the store's lock held.
protocol StoreRingHost: AnyObject {
    /// Maps the page and binds the port of a guest that was introduced; nil if it has none.
    func openRing(_ introduction: StoreIntroduction) -> StoreRing?

    /// Lets go of both.
    func closeRing(_ ring: StoreRing)

    /// Sends an event to the guest at the other end of a port of domain 0.
    func notify(_ port: EventChannelPort)
}

extension LiveHost: StoreRingHost {
    func openRing(_ introduction: StoreIntroduction) -> StoreRing? {
        guard let memory = page(introduction.frame, of: introduction.domain) else { return nil }
        let port = withHypervisor { hypervisor in
            let port = try? hypervisor.bindInterdomain(
                in: .dom0,
                remote: introduction.domain,
                port: introduction.port
            )
            // The event that comes with binding is for nobody else: what is in the ring is looked at anyway.
            if let port { hypervisor.takePending(port, of: .dom0) }
            return port
        }
        guard let port else { return nil }
        setStorePort(port, isServed: true)
        return StoreRing(introduction, port: port, memory: memory)
    }

    func closeRing(_ ring: StoreRing) {
        setStorePort(ring.port, isServed: false)
        // The port is gone already if the domain was destroyed with all that is domain 0's.
        withHypervisor { try? $0.close(ring.port, of: .dom0) }
    }

    func notify(_ port: EventChannelPort) {
        try? notify(port, from: .dom0)
    }

    /// Serves the guest that rang, on the thread that did so: like a store of its own, it waits for nobody.
    func serveRing(at port: EventChannelPort) {
        withHypervisor { _ = $0.takePending(port, of: .dom0) }
        store.withLock { $0.serveRing(at: port) }
    }
}
