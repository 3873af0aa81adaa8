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
    let hypervisor: Lock<Hypervisor>
    let store: Lock<LiveStore>
    private let memory = Lock(Memory())
    private let doorbells = Lock(Doorbells())
    /// How many serve the ports of a domain, and whether there are several for any.
    private let servers = Lock<[DomainID: Int]>([:])
    private let isShared = Atomic(false)

    private struct Memory {
        var pages: [PageName: PageMemory] = [:]
        var nextFrame: UInt64 = 1
    }

    private struct Doorbells {
        /// By the domain's number.
        var wakers: [Waker?] = []
        /// The ports of domain 0 that the store serves, by number.
        var storePorts: [Bool] = []
    }

    private struct PageName: Hashable {
        let domain: DomainID
        let frame: FrameNumber
    }

    /// Makes a host with domain 0 and an empty store, which behaves as C xenstored 4.17 does unless `rules` say otherwise: so that a
    /// client meets what other stores do (R21, D43).
    public init(storeRules rules: StoreRules = StoreRules()) {
        hypervisor = Lock(Hypervisor())
        store = Lock(LiveStore(rules))
        store.withLock { $0.setHost(self) }
    }

    /// Makes a domain with a number of the host's choosing.
    public func createDomain() throws(DomainError) -> LiveDomain {
        LiveDomain(
            try hypervisor.withLock { (hypervisor) throws(DomainError) in try hypervisor.createDomain() },
            of: self
        )
    }

    /// The services of domain 0.
    public var controlDomain: LiveDomain { LiveDomain(.dom0, of: self) }

    /// Ends a domain, its memory with it but for pages that others still map (F6); the store learns of it (D15).
    public func destroyDomain(_ domain: DomainID) throws(DomainError) {
        store.withLock { $0.domainDestroyed(domain) }
        let remains = try hypervisor.withLock { (hypervisor) throws(DomainError) in
            try hypervisor.destroyDomain(domain)
        }
        memory.withLock { memory in
            memory.pages = memory.pages.filter { name, _ in
                name.domain != domain || remains.heldFrames.contains(name.frame)
            }
        }
        remains.released.forEach(free)
        setWaker(nil, of: domain)
        store.withLock { $0.domainDestroyed(domain) }
    }

    /// What is still open in the hypervisor, of all domains or of one.
    ///
    /// The store's own ends of the guests' channels are none: they go with the guests.
    public func leaks(of domain: DomainID? = nil) -> HypervisorLeaks {
        var leaks = hypervisor.withLock { $0.leaks(of: domain) }
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

    // MARK: HypervisorHost

    /// Runs `body` with the hypervisor, alone.
    public func withHypervisor<Result, Failure: Error>(
        _ body: (inout Hypervisor) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try hypervisor.withLock(body)
    }

    /// Wakes the loop of the domain whose port became pending, or has the store serve the guest that rang.
    public func deliver(_ upcall: Upcall) {
        let (waker, isStores) = doorbells.withLock { doorbells in
            let (number, port) = (Int(upcall.domain.rawValue), Int(upcall.port.rawValue))
            return (
                number < doorbells.wakers.count ? doorbells.wakers[number] : nil,
                number == 0 && port < doorbells.storePorts.count && doorbells.storePorts[port]
            )
        }
        if isStores { serveRing(at: upcall.port) } else { waker?.wake() }
    }

    /// Whether a domain may have ports of several owners, of which each must leave the others' alone: frontend and backend in one domain.
    var hasSharedDomains: Bool { isShared.load(ordering: .relaxed) }

    /// Counts those who serve a domain's ports, all in one thread.
    func countServers(of domain: DomainID, adding change: Int) {
        servers.withLock { servers in
            servers[domain, default: 0] += change
            isShared.store(servers.values.contains { $0 > 1 }, ordering: .relaxed)
        }
    }

    /// Whether the store serves a guest at a port of domain 0.
    func isStorePort(_ port: EventChannelPort) -> Bool {
        doorbells.withLock { Int(port.rawValue) < $0.storePorts.count && $0.storePorts[Int(port.rawValue)] }
    }

    /// Says whether a port of domain 0 is the store's.
    func setStorePort(_ port: EventChannelPort, isServed: Bool) {
        let number = Int(port.rawValue)
        doorbells.withLock { doorbells in
            while doorbells.storePorts.count <= number { doorbells.storePorts.append(false) }
            doorbells.storePorts[number] = isServed
        }
    }

    /// Frees a page that nobody can reach any more.
    public func free(_ page: ReleasedPage) {
        memory.withLock { $0.pages[PageName(domain: page.domain, frame: page.frame)] = nil }
    }

    // MARK: Memory

    func setWaker(_ waker: Waker?, of domain: DomainID) {
        let number = Int(domain.rawValue)
        doorbells.withLock { doorbells in
            while doorbells.wakers.count <= number { doorbells.wakers.append(nil) }
            doorbells.wakers[number] = waker
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
