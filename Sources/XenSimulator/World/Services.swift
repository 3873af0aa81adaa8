// SPDX-License-Identifier: MIT

import XenHypervisor
import XenInterface
import XenStore

/// The services of one domain's process, with the faults before them.
final class Services {
    let domain: DomainID
    let world: World
    private let connection: StoreConnectionID
    var store: FaultyStore<HostedStoreConnection> {
        unsafeAddress { unsafe storeSlot.reading }
        unsafeMutableAddress { unsafe storeSlot.writing }
    }
    var events: FaultyEvents<DomainEventChannels<World>> {
        unsafeAddress { unsafe eventsSlot.reading }
        unsafeMutableAddress { unsafe eventsSlot.writing }
    }
    var grants: FaultyGrants<DomainGrants<World>> {
        unsafeAddress { unsafe grantsSlot.reading }
        unsafeMutableAddress { unsafe grantsSlot.writing }
    }
    private let storeSlot: Slot<FaultyStore<HostedStoreConnection>>
    private let eventsSlot: Slot<FaultyEvents<DomainEventChannels<World>>>
    private let grantsSlot: Slot<FaultyGrants<DomainGrants<World>>>

    /// Connects a process of `domain`, whose actor is `actor`, to the store, and to the domain's events if it `receives` them.
    init(of domain: DomainID, in world: World, actor: Int, receivesEvents: Bool = true) {
        self.domain = domain
        self.world = world
        let connection = world.store.connect(as: domain)
        self.connection = connection.id
        world.setClient(actor, of: connection.id)
        if receivesEvents { world.setReceiver(actor, of: domain) }
        let chance = world.chance
        storeSlot = Slot(FaultyStore(connection, isUnprivileged: domain != .dom0, chance: chance))
        eventsSlot = Slot(FaultyEvents(DomainEventChannels(of: domain, in: world), chance: chance))
        grantsSlot = Slot(FaultyGrants(DomainGrants(of: domain, in: world), chance: chance))
    }

    /// Carries out a request, and wakes whoever is told by it.
    func perform(_ request: StoreRequest, in transaction: StoreTransactionID) -> StoreReply {
        let reply = store.perform(request, in: transaction)
        // Most requests tell nobody.
        if world.store.hasWoken { world.deliverWatches() }
        return reply
    }

    var hasWatchEvent: Bool { store.holdsEvent || world.hasEvents(connection) }
    var hasPort: Bool { events.holdsEvent || world.hypervisor.hasPending(domain) }

    /// Both at once, for who asks at every step: what they look through is held only once.
    @inline(never)
    func waiting() -> (watch: Bool, port: Bool) { (hasWatchEvent, hasPort) }
}
