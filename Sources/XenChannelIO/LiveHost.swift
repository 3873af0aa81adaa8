// SPDX-License-Identifier: MIT

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
    /// By the domain's number.
    private let wakers = Lock<[Waker?]>([])

    private struct Memory {
        var pages: [PageName: PageMemory] = [:]
        var nextFrame: UInt64 = 1
    }

    private struct PageName: Hashable {
        let domain: DomainID
        let frame: FrameNumber
    }

    /// Makes a host with domain 0 and an empty store.
    public init() {
        hypervisor = Lock(Hypervisor())
        store = Lock(LiveStore())
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

    /// Ends a domain, its memory with it but for pages that others still map (F6).
    public func destroyDomain(_ domain: DomainID) throws(DomainError) {
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
    }

    /// What is still open in the hypervisor, of all domains or of one.
    public func leaks(of domain: DomainID? = nil) -> HypervisorLeaks {
        hypervisor.withLock { $0.leaks(of: domain) }
    }

    /// Fills the store with a tree in the text of `xenstore-ls -fp`.
    public func importStore(_ text: String) throws(StoreImportError) {
        try store.withLock { (store) throws(StoreImportError) in try store.server.importListing(text) }
    }

    // MARK: HypervisorHost

    /// Runs `body` with the hypervisor, alone.
    public func withHypervisor<Result, Failure: Error>(
        _ body: (inout Hypervisor) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try hypervisor.withLock(body)
    }

    /// Wakes the loop of the domain whose port became pending.
    public func deliver(_ upcall: Upcall) {
        let number = Int(upcall.domain.rawValue)
        wakers.withLock { number < $0.count ? $0[number] : nil }?.wake()
    }

    /// Frees a page that nobody can reach any more.
    public func free(_ page: ReleasedPage) {
        memory.withLock { $0.pages[PageName(domain: page.domain, frame: page.frame)] = nil }
    }

    // MARK: Memory

    func setWaker(_ waker: Waker?, of domain: DomainID) {
        let number = Int(domain.rawValue)
        wakers.withLock { wakers in
            while wakers.count <= number { wakers.append(nil) }
            wakers[number] = waker
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
