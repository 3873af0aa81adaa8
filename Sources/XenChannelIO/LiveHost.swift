// SPDX-License-Identifier: MIT

import Synchronization
public import XenHypervisor
public import XenInterface
public import XenStore

/// A simulated Xen host for several threads: one hypervisor, one store, and the memory of its domains.
///
/// The fakes are the same values that a simulation steps in one thread; here each stands behind a lock, and whoever makes work for a domain
/// wakes the loop that serves it.
public final class LiveHost: HypervisorHost, Sendable {
    private let state = Lock(State())
    let store: Lock<LiveStore>
    private let memory = Lock(Memory())
    /// Whether several serve the ports of any domain.
    private let isShared = Atomic(false)
    private let generations = Atomic<UInt64>(0)

    private struct Memory {
        var pages: [PageName: PageMemory] = [:]
        var nextFrame: UInt64 = 1
    }

    /// The hypervisor, and who is to be told of its upcalls: behind one lock, since each event needs both.
    private struct State {
        var hypervisor = Hypervisor()
        /// By the domain's number.
        var signals: [[Reference<Signal>]] = []
        /// The ports of domain 0 that the store serves, by number.
        var storePorts: [Bool] = []

        var hasSharedDomains: Bool { signals.contains { $0.count > 1 } }

        /// The way to a port of this thread's loop, if the upcall is for one.
        func way(for upcall: Upcall, generation: UInt64) -> EventWay? {
            let number = Int(upcall.domain.rawValue)
            guard number < signals.count else { return nil }
            for index in signals[number].indices {
                let way = signals[number][index].use { $0.way(to: upcall.port, generation: generation) }
                if let way { return way }
            }
            return nil
        }

        /// Has the domain's loop look, unless the store serves the port.
        func tell(_ upcall: Upcall) -> Telling {
            let (number, port) = (Int(upcall.domain.rawValue), Int(upcall.port.rawValue))
            if number == 0, port < storePorts.count, storePorts[port] { return .store(upcall.port) }
            guard number < signals.count else { return .done }
            var sleeper: Waker?
            for index in signals[number].indices {
                guard let waker = signals[number][index].use({ $0.raise() }) else { continue }
                sleeper?.interrupt()
                sleeper = waker
            }
            guard let sleeper else { return .done }
            return .interrupt(sleeper)
        }
    }

    /// What is left to do when the lock was given back.
    private enum Telling {
        case done
        case interrupt(Waker)
        /// The store is to serve the guest that rang at this port.
        case store(EventChannelPort)
    }

    private struct PageName: Hashable {
        let domain: DomainID
        let frame: FrameNumber
    }

    /// Makes a host with domain 0 and an empty store, which behaves as C xenstored 4.17 does unless `rules` say otherwise: so that a
    /// client meets what other stores do (R21, D43).
    public init(storeRules rules: StoreRules = StoreRules()) {
        store = Lock(LiveStore(rules))
        store.withLock { $0.setHost(self) }
    }

    /// Makes a domain with a number of the host's choosing.
    public func createDomain() throws(DomainError) -> LiveDomain {
        LiveDomain(
            try withHypervisor { (hypervisor) throws(DomainError) in try hypervisor.createDomain() },
            of: self
        )
    }

    /// The services of domain 0.
    public var controlDomain: LiveDomain { LiveDomain(.dom0, of: self) }

    /// Ends a domain, its memory with it but for pages that others still map (F6); the store learns of it (D15). Traps for domain 0.
    public func destroyDomain(_ domain: DomainID) throws(DomainError) {
        store.withLock { $0.domainDestroyed(domain) }
        let remains = try withHypervisor { (hypervisor) throws(DomainError) in
            try hypervisor.destroyDomain(domain)
        }
        memory.withLock { memory in
            memory.pages = memory.pages.filter { name, _ in
                name.domain != domain || remains.heldFrames.contains(name.frame)
            }
        }
        remains.released.forEach(free)
        removeSignal(nil, of: domain)
        store.withLock { $0.domainDestroyed(domain) }
    }

    /// What is still open in the hypervisor, of all domains or of one.
    ///
    /// The store's own ends of the guests' channels are none: they go with the guests.
    public func leaks(of domain: DomainID? = nil) -> HypervisorLeaks {
        var leaks = withHypervisor { $0.leaks(of: domain) }
        leaks.ports.removeAll { $0.domain == .dom0 && isStorePort($0.port) }
        return leaks
    }

    /// Fills the store with a tree in the text of `xenstore-ls -fp`.
    public func importStore(_ text: String) throws(StoreImportError) {
        try store.withLock { (store) throws(StoreImportError) in try store.server.importListing(text) }
    }

    /// Lets the next commits fail with `EAGAIN` though nothing conflicts, as oxenstored's `test-eagain` does at random (D43).
    public func refuseCommits(_ count: Int) {
        store.withLock { $0.server.commitsToRefuse = count }
    }

    deinit {
        state.withLock { state in state.signals.forEach { $0.forEach { $0.release() } } }
    }

    // MARK: HypervisorHost

    /// Runs `body` with the hypervisor, alone.
    public func withHypervisor<Result, Failure: Error>(
        _ body: (inout Hypervisor) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try state.withLock { (state) throws(Failure) in
            // Whatever it does to ports: events ask their way anew.
            defer { closeEventWays() }
            return try body(&state.hypervisor)
        }
    }

    /// As `Hypervisor.takePending(of:_:)`.
    func takePending(of domain: DomainID, _ body: (EventChannelPort) -> Void) {
        state.withLock { $0.hypervisor.takePending(of: domain, body) }
    }

    /// As `Hypervisor.takePending(_:of:)`.
    func takePending(_ port: EventChannelPort, of domain: DomainID) -> Bool {
        state.withLock { $0.hypervisor.takePending(port, of: domain) }
    }

    /// Wakes the loop of the domain whose port became pending, or has the store serve the guest that rang.
    public func deliver(_ upcall: Upcall) {
        finish(state.withLock { $0.tell(upcall) })
    }

    /// Sends an event, and does as `deliver(_:)` does.
    public func notify(_ port: EventChannelPort, from domain: DomainID) throws(EventChannelError) {
        _ = try sendEvent(port, from: domain)
    }

    /// The same; returns the way on which the event was taken, if both ends are in the loop of this thread. Until `generation` changes the next one
    /// can be taken on it.
    func sendEvent(_ port: EventChannelPort, from domain: DomainID) throws(EventChannelError) -> EventWay? {
        var way: EventWay?
        let telling = try state.withLock { (state) throws(EventChannelError) -> Telling in
            if let upcall = state.hypervisor.upcall(ofSending: port, from: domain) {
                way = state.way(for: upcall, generation: generation)
                if way?.take(at: generation) == true { return .done }
            }
            guard let upcall = try state.hypervisor.send(port, from: domain) else { return .done }
            return state.tell(upcall)
        }
        finish(telling)
        return way
    }

    /// Changes when an event may have to take another way than before.
    var generation: UInt64 { generations.load(ordering: .relaxed) }

    /// A port is bound, masked, closed or served otherwise from now on.
    func closeEventWays() {
        generations.wrappingAdd(1, ordering: .relaxed)
    }

    private func finish(_ telling: Telling) {
        switch telling {
        case .done: break
        case .interrupt(let sleeper): sleeper.interrupt()
        case .store(let port): serveRing(at: port)
        }
    }

    /// Whether a domain may have ports of several owners, of which each must leave the others' alone: frontend and backend in one domain.
    var hasSharedDomains: Bool { isShared.load(ordering: .relaxed) }

    /// Whether the store serves a guest at a port of domain 0.
    func isStorePort(_ port: EventChannelPort) -> Bool {
        state.withLock { Int(port.rawValue) < $0.storePorts.count && $0.storePorts[Int(port.rawValue)] }
    }

    /// Says whether a port of domain 0 is the store's.
    func setStorePort(_ port: EventChannelPort, isServed: Bool) {
        let number = Int(port.rawValue)
        state.withLock { state in
            while state.storePorts.count <= number { state.storePorts.append(false) }
            state.storePorts[number] = isServed
        }
    }

    /// Frees a page that nobody can reach any more.
    public func free(_ page: ReleasedPage) {
        memory.withLock { $0.pages[PageName(domain: page.domain, frame: page.frame)] = nil }
    }

    // MARK: Memory

    /// Raises a signal as well when a port of the domain becomes pending.
    func addSignal(_ signal: Signal, of domain: DomainID) {
        let number = Int(domain.rawValue)
        state.withLock { state in
            while state.signals.count <= number { state.signals.append([]) }
            state.signals[number].append(Reference(retaining: signal))
            isShared.store(state.hasSharedDomains, ordering: .relaxed)
        }
    }

    /// Raises it no longer; nil stands for all of the domain.
    func removeSignal(_ signal: Signal?, of domain: DomainID) {
        let number = Int(domain.rawValue)
        state.withLock { state in
            guard number < state.signals.count else { return }
            state.signals[number].removeAll { reference in
                guard reference.use({ signal == nil || $0 === signal }) else { return false }
                reference.release()
                return true
            }
            isShared.store(state.hasSharedDomains, ordering: .relaxed)
        }
    }

    func allocatePage(of domain: DomainID) -> (frame: FrameNumber, memory: PageMemory) {
        memory.withLock { memory in
            let frame = FrameNumber(memory.nextFrame)
            memory.nextFrame += 1
            let page = PageMemory()
            memory.pages[PageName(domain: domain, frame: frame)] = page
            return (frame, page)
        }
    }

    func page(_ frame: FrameNumber, of domain: DomainID) -> PageMemory? {
        memory.withLock { $0.pages[PageName(domain: domain, frame: frame)] }
    }
}
