// SPDX-License-Identifier: MIT

public import XenBus
public import XenChannels
public import XenHypervisor
public import XenInterface

/// What a toolstack does on a live host: makes guests, and gives them channels, with the requests of libxl.
///
/// Belongs to one thread.
public final class LiveToolstack {
    private let host: LiveHost
    private let store: LiveStoreConnection
    private var guests: [DomainID: DomainSkeleton] = [:]

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
    public func createGuest(
        name: String,
        uuid: String,
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
        let port: EventChannelPort
        do throws(EventChannelError) {
            port = unsafe try domain.events.allocateUnbound(for: .dom0)
        } catch {
            throw .eventChannel(error)
        }
        let (frame, page) = host.allocatePage(of: domain.id)
        try run(skeleton.creation)
        try run(skeleton.details(storePort: port, storeFrame: frame))
        _ = store.perform(skeleton.introduction(storePort: port, storeFrame: frame))
        domain.store.useRing(page, port: port)
        for channel in try channels(domain.id) {
            try attach(channel, to: domain.id)
        }
    }

    /// Gives a guest one more channel, while it runs.
    public func attach(_ channel: ChannelConfiguration, to guest: DomainID) throws(ToolstackError) {
        try run(channel.creation(in: guest))
    }

    /// Removes the nodes of a channel, and the directories that are empty then.
    public func remove(_ device: DeviceID, from guest: DomainID) throws(ToolstackError) {
        for _ in 0..<StoreScript.defaultAttempts {
            guard case .transaction(let id) = store.perform(.beginTransaction) else { continue }
            var removal = ConsoleDeviceRemoval(of: device, in: guest)
            var reply: StoreReply?
            while let step = removal.nextStep(after: reply) {
                reply = store.perform(step.request, in: id)
            }
            switch store.perform(.endTransaction(commit: true), in: id) {
            case .failure(.again): continue
            case .failure(let code): throw .store(StoreFailure(.endTransaction(commit: true), code))
            case .done, .value, .children, .part, .permissions, .transaction, .flag, .path: return
            }
        }
        throw .store(StoreFailure(.endTransaction(commit: true), .again))
    }

    /// Ends a guest and removes its nodes; its channels were removed before.
    public func destroy(_ guest: DomainID) throws(ToolstackError) {
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
