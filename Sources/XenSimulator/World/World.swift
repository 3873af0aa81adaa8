// SPDX-License-Identifier: MIT

import XenBus
import XenExploration
import XenHypervisor
import XenInterface
import XenRing
import XenStore

/// All that the actors of a simulation share: the fakes, the pages, virtual time, chance, and who has something to do.
final class World: HypervisorHost {
    var hypervisor: Hypervisor {
        unsafeAddress { unsafe hypervisorSlot.reading }
        unsafeMutableAddress { unsafe hypervisorSlot.writing }
    }
    let store: StoreHost
    let chance: Chance
    let journal = Journal()
    let substitution: (any Substitution)?
    var ready: ReadyList {
        unsafeAddress { unsafe readySlot.reading }
        unsafeMutableAddress { unsafe readySlot.writing }
    }
    var timers: TimerList {
        unsafeAddress { unsafe timersSlot.reading }
        unsafeMutableAddress { unsafe timersSlot.writing }
    }
    /// Virtual time since the beginning.
    var now = Duration.zero
    var coverage: HandshakeCoverage {
        unsafeAddress { unsafe coverageSlot.reading }
        unsafeMutableAddress { unsafe coverageSlot.writing }
    }
    let isTracing: Bool
    var trace = Trace()
    private let hypervisorSlot = Slot(Hypervisor())
    private let readySlot = Slot(ReadyList())
    private let timersSlot = Slot(TimerList())
    private let coverageSlot = Slot(HandshakeCoverage())
    private var frames: [ReleasedPage: PageFrame] = [:]
    private var nextFrame: UInt64 = 1
    private var hostileDomains: Set<DomainID> = []
    /// The actor that takes a domain's events, by the domain's number; -1 if there is none.
    private var receivers: [Int] = []
    /// The actors behind the store's connections, each where the store keeps the connection.
    private var clients: [(connection: StoreConnectionID, actor: Int)?] {
        unsafeAddress { unsafe clientsSlot.reading }
        unsafeMutableAddress { unsafe clientsSlot.writing }
    }
    private let clientsSlot = Slot<[(connection: StoreConnectionID, actor: Int)?]>([])
    /// Actors that are stalled, and whether they have something to do when they go on.
    private var stalled: [Int: Bool] {
        unsafeAddress { unsafe stalledSlot.reading }
        unsafeMutableAddress { unsafe stalledSlot.writing }
    }
    private let stalledSlot = Slot<[Int: Bool]>([:])

    init(chance: Chance, substitution: (any Substitution)?, tracing: Bool) {
        isTracing = tracing
        self.chance = chance
        self.substitution = substitution
        store = StoreHost(StoreServer(rules: chance.strikes(.otherStore) ? .oxenstored : StoreRules()))
    }

    // MARK: Actors

    var actors: [Actor] {
        unsafeAddress { unsafe actorsSlot.reading }
        unsafeMutableAddress { unsafe actorsSlot.writing }
    }
    private let actorsSlot = Slot<[Actor]>([])
    private var columns = ActorColumns()

    /// The names of all columns.
    var names: [String] { columns.names }

    /// The column of a name; a new one if there is none of that name, with nobody in it yet.
    func column(named name: String) -> Int {
        reserve(columns.column(named: name))
    }

    /// The column of one who has to do with a channel; a new one if there is none yet, with nobody in it.
    func column(of role: ChannelRole, _ key: DeviceKey) -> Int {
        reserve(columns.column(of: role, key))
    }

    private func reserve(_ column: Int) -> Int {
        if column == actors.count { actors.append(Actor(column, in: self)) }
        return column
    }

    /// Lets everybody go, who would keep each other alive otherwise.
    func removeActors() {
        for actor in actors { actor.leave() }
        actors = []
    }

    /// Puts an actor into its column.
    func replace(_ actor: Actor) {
        actors[actor.id].leave()
        actors[actor.id] = actor
    }

    // MARK: Waking

    func wake(_ actor: Int) {
        // Who is stalled is not ready.
        if ready.contains(actor) { return }
        if !stalled.isEmpty, stalled[actor] != nil {
            stalled[actor] = true
        } else {
            ready.insert(actor)
        }
    }

    func sleep(_ actor: Int) {
        ready.remove(actor)
        if !stalled.isEmpty, stalled[actor] != nil { stalled[actor] = false }
    }

    /// Keeps an actor from running for a while.
    func stall(_ actor: Int, for duration: Duration) {
        stalled[actor] = stalled[actor] ?? ready.contains(actor)
        ready.remove(actor)
        timers.start(.init(deadline: now + duration, actor: actor, purpose: .resume))
    }

    func resume(_ actor: Int) {
        if stalled.removeValue(forKey: actor) == true { ready.insert(actor) }
    }

    /// The actor has ended: it does nothing, waits for nothing, and is not stalled if it comes back.
    func retire(_ actor: Int) {
        ready.remove(actor)
        stalled[actor] = nil
        timers.stopAll(of: actor)
    }

    func setReceiver(_ actor: Int, of domain: DomainID) {
        while receivers.count <= Int(domain.rawValue) { receivers.append(-1) }
        receivers[Int(domain.rawValue)] = actor
    }

    func setClient(_ actor: Int, of connection: StoreConnectionID) {
        while clients.count <= Int(connection.slot) { clients.append(nil) }
        clients[Int(connection.slot)] = (connection, actor)
    }

    private func client(of connection: StoreConnectionID) -> Int? {
        let slot = Int(connection.slot)
        guard slot < clients.count, let client = clients[slot], client.connection == connection else { return nil }
        return client.actor
    }

    func disconnect(_ connection: StoreConnectionID) {
        if client(of: connection) != nil { clients[Int(connection.slot)] = nil }
        store.disconnect(connection)
    }

    /// Wakes those to whom the store's last work has sent an event.
    func deliverWatches() {
        while let connection = store.nextWoken() {
            if let actor = client(of: connection) { wake(actor) }
        }
    }

    /// Whether a client has events to take. Not inlined: the store would be held for it.
    @inline(never)
    func hasEvents(_ connection: StoreConnectionID) -> Bool { store.hasEvents(connection) }

    // MARK: HypervisorHost

    func withHypervisor<Result, Failure: Error>(
        _ body: (inout Hypervisor) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try body(&hypervisor)
    }

    func deliver(_ upcall: Upcall) {
        let domain = Int(upcall.domain.rawValue)
        if domain < receivers.count, receivers[domain] >= 0 { wake(receivers[domain]) }
    }

    func free(_ page: ReleasedPage) {
        frames.removeValue(forKey: page)?.isFreed = true
    }

    // MARK: Pages

    func allocateFrame(of domain: DomainID) -> PageFrame {
        let frame = PageFrame(owner: domain, number: FrameNumber(nextFrame))
        nextFrame += 1
        if hostileDomains.contains(domain) { frame.distrust() }
        frames[ReleasedPage(domain: domain, frame: frame.number)] = frame
        return frame
    }

    func frame(_ number: FrameNumber, of domain: DomainID) -> PageFrame? {
        frames[ReleasedPage(domain: domain, frame: number)]
    }

    /// The pages of a domain, by ascending number.
    func frames(of domain: DomainID) -> [PageFrame] {
        frames.values.filter { $0.owner == domain }.sorted { $0.number.rawValue < $1.number.rawValue }
    }

    func access(to frame: PageFrame, as role: ConsoleRole) -> PageAccess {
        PageAccess(to: frame, as: role, journal: journal)
    }

    /// A domain breaks the rules from now on: none of its pages can be relied on, whichever of them the backend is made to map.
    func distrust(_ domain: DomainID) {
        hostileDomains.insert(domain)
        for frame in frames(of: domain) { frame.distrust() }
    }

    func isHostile(_ domain: DomainID) -> Bool { hostileDomains.contains(domain) }

    /// A domain is gone: its pages with it, save those that others still map.
    func destroyDomain(_ domain: DomainID) {
        guard let remains = try? hypervisor.destroyDomain(domain) else { return }
        for frame in frames(of: domain) where !remains.heldFrames.contains(frame.number) {
            free(ReleasedPage(domain: domain, frame: frame.number))
        }
        remains.released.forEach(free)
        store.domainDestroyed(domain)
        deliverWatches()
    }

    // MARK: Seeing

    /// Notes what the acting one did, if a trace is kept.
    @inline(__always)
    func note(_ text: @autoclosure () -> String, to target: Int? = nil) {
        if isTracing { trace.add(text(), to: target, at: now) }
    }

    func hash(into hasher: inout Hasher) {
        hasher.combine(hypervisor)
        store.hash(into: &hasher)
        chance.hash(into: &hasher)
        ready.hash(into: &hasher)
        timers.hash(into: &hasher, now: now)
        hasher.combine(stalled)
        for page in frames.keys.sorted(by: { $0.frame.rawValue < $1.frame.rawValue }) {
            hasher.combine(page)
            hasher.combine(frames[page]?.output)
            hasher.combine(frames[page]?.input)
        }
    }
}
