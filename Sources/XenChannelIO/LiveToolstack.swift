// SPDX-License-Identifier: MIT

public import XenBus
public import XenChannels
public import XenHypervisor
public import XenInterface
import XenRing

/// What a toolstack does on a live host: makes guests, and gives them channels, with the requests of libxl.
///
/// Belongs to one thread.
public final class LiveToolstack {
    private let host: LiveHost
    private let store: LiveStoreConnection
    private var guests: [DomainID: DomainSkeleton] = [:]
    /// The guests that have a primary console.
    private var consoles: Set<DomainID> = []

    /// Makes a toolstack of domain 0.
    public init(on host: LiveHost) {
        self.host = host
        store = LiveStoreConnection(as: .dom0, to: host)
        // What the host itself has before its first guest, as far as tools look at it.
        for (path, value) in [("/local/domain/0/domid", "0"), ("/local/domain/0/name", "Domain-0")] {
            guard let path = StorePath(path) else { continue }
            _ = store.perform(.write(path, StoreValue(value)))
        }
    }

    /// Makes a guest with its channels, in the order of libxl: the domain's nodes, the introduction, the devices (R4).
    ///
    /// With `console` it has a primary console as well, which domain 0 serves.
    public func createGuest(
        name: String,
        uuid: String,
        console: Bool = false,
        channels: (DomainID) throws(ToolstackError) -> [ChannelConfiguration]
    ) throws(ToolstackError) -> LiveDomain {
        let domain: LiveDomain
        do throws(DomainError) {
            domain = try host.createDomain()
        } catch {
            throw .domain(error)
        }
        do throws(ToolstackError) {
            try furnish(domain, name: name, uuid: uuid, channels: channels)
            if console { try makeConsole(of: domain) }
        } catch {
            // Half a guest is of no use; what went wrong is what is told.
            try? destroy(domain.id)
            throw error
        }
        return domain
    }

    private func furnish(
        _ domain: LiveDomain,
        name: String,
        uuid: String,
        channels: (DomainID) throws(ToolstackError) -> [ChannelConfiguration]
    ) throws(ToolstackError) {
        let skeleton = DomainSkeleton(domain: domain.id, name: name, uuid: uuid)
        guests[domain.id] = skeleton
        let port = try allocatePort(of: domain)
        let (frame, page) = host.allocatePage(of: domain.id)
        try run(skeleton.creation)
        try run(skeleton.details(storePort: port, storeFrame: frame))
        _ = store.perform(skeleton.introduction(storePort: port, storeFrame: frame))
        domain.store.useRing(page, port: port)
        for channel in try channels(domain.id) {
            try attach(channel, to: domain.id)
        }
    }

    /// Makes page, port and nodes of the primary console, as a domain's builder and libxl do (B2 to B4).
    private func makeConsole(of domain: LiveDomain) throws(ToolstackError) {
        let port = try allocatePort(of: domain)
        let (frame, memory) = host.allocatePage(of: domain.id)
        // Until a backend is there (A10).
        ConsoleRing(fresh: memory.page, as: .backend).setConnection(.disconnected)
        host.withHypervisor { $0.seedGrant(.console, of: domain.id, to: .dom0, frame: frame) }
        domain.primaryConsole = (GuestPage(reference: .console, frame: frame, memory: memory), port)
        consoles.insert(domain.id)
        try run(PrimaryConsole(port: port, frame: frame).creation(in: domain.id))
    }

    private func allocatePort(of domain: LiveDomain) throws(ToolstackError) -> EventChannelPort {
        do throws(EventChannelError) {
            return unsafe try domain.events.allocateUnbound(for: .dom0)
        } catch {
            throw .eventChannel(error)
        }
    }

    /// Gives a guest one more channel, while it runs.
    public func attach(_ channel: ChannelConfiguration, to guest: DomainID) throws(ToolstackError) {
        try run(channel.creation(in: guest))
    }

    /// Removes the nodes of a channel, and the directories that are empty then.
    public func remove(_ device: DeviceID, from guest: DomainID) throws(ToolstackError) {
        var connection = store
        do throws(StoreFailure) {
            try ConsoleDeviceRemoval(of: device, in: guest).run(on: &connection)
        } catch {
            throw .store(error)
        }
    }

    /// Ends a guest and removes its nodes and those of its primary console; its channels were removed before. Traps for domain 0.
    public func destroy(_ guest: DomainID) throws(ToolstackError) {
        if consoles.remove(guest) != nil { try remove(.primaryConsole, from: guest) }
        if let skeleton = guests.removeValue(forKey: guest) {
            try run(skeleton.removal, transaction: false)
        }
        _ = store.perform(.release(guest))
        do throws(DomainError) {
            try host.destroyDomain(guest)
        } catch {
            throw .domain(error)
        }
    }

    private func run(_ steps: [StoreStep], transaction: Bool = true) throws(ToolstackError) {
        var script = StoreScript(steps, transaction: transaction)
        var connection = store
        do throws(StoreFailure) {
            _ = try script.run(on: &connection)
        } catch {
            throw .store(error)
        }
    }
}

/// Why a toolstack could not do what was asked.
public enum ToolstackError: Error, Hashable, Sendable {
    /// The hypervisor made no domain.
    case domain(DomainError)
    /// The hypervisor made no port.
    case eventChannel(EventChannelError)
    /// A request that the store refused.
    case store(StoreFailure)
    /// A channel that cannot be made.
    case channel(ChannelConfigurationError)
}

extension ToolstackError: CustomStringConvertible {
    /// One line for a person.
    public var description: String {
        switch self {
        case .domain(let error): "domain: \(error)"
        case .eventChannel(let error): "event channel: \(error)"
        case .store(let failure): "store: \(failure.request): \(failure.code)"
        case .channel(let error): error.description
        }
    }
}
