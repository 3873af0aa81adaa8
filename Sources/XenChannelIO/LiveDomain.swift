// SPDX-License-Identifier: MIT

public import XenHypervisor
public import XenInterface

/// The services of one domain of a live host: its store connection, event channels and grants.
///
/// Belongs to the thread that serves the domain.
public final class LiveDomain {
    /// The domain.
    public let id: DomainID
    /// The domain's connection to the store: a guest's goes through its own ring once it is introduced.
    public let store: LiveStoreConnection
    /// The domain's event channels.
    @exclusivity(unchecked) public var events: DomainEventChannels<LiveHost>
    /// The domain's grant table.
    public var grants: DomainGrants<LiveHost>
    /// Page and port of the primary console that the domain was built with: what stands in `start_info`, or in the parameters `CONSOLE_PFN` and
    /// `CONSOLE_EVTCHN` (B1).
    var primaryConsole: (page: GuestPage, port: EventChannelPort)?
    private let host: LiveHost
    /// By the port's number: where events from here are served, if that is in this thread.
    @exclusivity(unchecked) private var ways: [EventWay?] = []
    /// What the ways lead to, kept for as long as they are asked.
    private var loneEvents: [LoneEvent] = []
    /// Grants that could not be ended because the other side still maps the page (F5).
    private var deferred: [GuestPage] = []

    init(_ id: DomainID, of host: LiveHost) {
        self.id = id
        self.host = host
        store = LiveStoreConnection(as: id, to: host)
        unsafe events = DomainEventChannels(of: id, in: host)
        grants = DomainGrants(of: id, in: host)
    }

    /// Wakes this loop when a port of the domain becomes pending, or a watch of its store connection fires.
    public func wake(_ waker: Waker) {
        raise(Signal(waking: waker))
    }

    /// Sends an event. A port that was closed, or whose domain has died, says nothing to anybody.
    func notify(_ port: EventChannelPort) {
        let index = Int(port.rawValue)
        if unsafe index < ways.count, let way = unsafe ways[index], way.take(at: host.generation) { return }
        notifyHost(port)
    }

    /// Sends an event through the hypervisor, unless there is a way past it, which is kept for the next one.
    @inline(never)
    private func notifyHost(_ port: EventChannelPort) {
        guard let way = try? host.sendEvent(port, from: id) else { return }
        let index = Int(port.rawValue)
        while unsafe ways.count <= index { unsafe ways.append(nil) }
        unsafe ways[index] = way
        way.loneEvent.use { lone in
            if !loneEvents.contains(where: { $0 === lone }) { loneEvents.append(lone) }
        }
    }

    /// Ports of the domain are served by others from now on.
    func closeEventWays() {
        host.closeEventWays()
    }

    /// Takes the ports that are pending, all at once, and shows them to `body`, which must not come back to the host.
    func takePending(_ body: (EventChannelPort) -> Void) {
        host.takePending(of: id, body)
    }

    /// Raises this signal then.
    func raise(_ signal: Signal) {
        host.addSignal(signal, of: id)
        store.setSignal(signal)
    }

    /// Raises it no longer when a port becomes pending.
    func silence(_ signal: Signal) {
        host.removeSignal(signal, of: id)
    }

    /// Whether there may be ports of others: then `takePending(_:)` is to be asked for one's own.
    var isShared: Bool { host.hasSharedDomains }

    /// Takes the pending bit of a port, if it is set.
    func takePending(_ port: EventChannelPort) -> Bool {
        host.takePending(port, of: id)
    }

    /// The memory of a page that this domain mapped; nil if the mapping is over.
    func memory(of mapping: GrantMapping) -> PageMemory? {
        host.page(mapping.frame, of: mapping.owner)
    }

    /// Makes a page of zeros and lets `peer` map it.
    func grantPage(to peer: DomainID) throws(GrantError) -> GuestPage {
        let (frame, memory) = host.allocatePage(of: id)
        do throws(GrantError) {
            let reference = try grants.grantAccess(to: peer, page: frame, readOnly: false)
            return GuestPage(reference: reference, frame: frame, memory: memory)
        } catch {
            host.free(ReleasedPage(domain: id, frame: frame))
            throw error
        }
    }

    /// Ends a grant and frees its page; while the other side maps it, that is put off and accounted for.
    func release(_ page: GuestPage) {
        deferred.append(page)
        retryDeferred()
    }

    /// How many grants could not be ended yet.
    var deferredCount: Int { deferred.count }

    /// Ends what could not be ended before, if it can be now.
    func retryDeferred() {
        deferred.removeAll { page in
            do throws(GrantError) {
                try grants.endAccess(page.reference)
            } catch {
                return false
            }
            host.free(ReleasedPage(domain: id, frame: page.frame))
            return true
        }
    }
}

/// A page of a domain's own, granted to another.
struct GuestPage {
    let reference: GrantReference
    let frame: FrameNumber
    let memory: PageMemory
}
