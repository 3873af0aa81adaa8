// SPDX-License-Identifier: MIT

public import XenBus
import XenChannels
import XenInterface
import XenStore

/// What can be seen of one channel at any step: for invariants, and for people who look.
public struct SimulatedChannel: Hashable, Sendable {
    /// The guest's domain and the device's number.
    public let key: DeviceKey
    /// The channel's name.
    public let name: String
    /// How far the frontend is; nil while there is none.
    public let frontend: FrontendHandshake.State?
    /// How far the backend is; nil while there is none.
    public let backend: BackendHandshake.State?
    /// Bytes in the ring towards the backend.
    public let bytesInOutputRing: Int
    /// Bytes in the ring towards the frontend.
    public let bytesInInputRing: Int
    /// Bytes the client has sent and received.
    public let client: (sent: UInt64, received: UInt64)
    /// Bytes the agent has sent and received.
    public let agent: (sent: UInt64, received: UInt64)

    /// Two views are equal when everything in them is.
    public static func == (left: SimulatedChannel, right: SimulatedChannel) -> Bool {
        left.key == right.key && left.name == right.name && left.frontend == right.frontend
            && left.backend == right.backend && left.bytesInOutputRing == right.bytesInOutputRing
            && left.bytesInInputRing == right.bytesInInputRing && left.client == right.client
            && left.agent == right.agent
    }

    /// Hashes the channel's name and progress.
    public func hash(into hasher: inout Hasher) {
        hasher.combine(key)
        hasher.combine(frontend)
        hasher.combine(backend)
        hasher.combine(client.received)
        hasher.combine(agent.received)
    }
}

extension Simulation {
    /// The channels of all guests that run, by domain and number.
    public var channels: [SimulatedChannel] {
        guests.filter(\.isRunning).flatMap { guest in
            guest.sortedChannels.map { key, record in
                SimulatedChannel(
                    key: key,
                    name: record.plan.name,
                    frontend: (record.frontend as? FrontendDevice)?.handshake,
                    backend: (record.backend as? BackendDevice)?.handshake,
                    bytesInOutputRing: record.frontend?.frame?.output.count ?? 0,
                    bytesInInputRing: record.frontend?.frame?.input.count ?? 0,
                    client: (record.client?.sent ?? 0, record.client?.received ?? 0),
                    agent: (record.agent?.sent ?? 0, record.agent?.received ?? 0)
                )
            }
        }
    }

    /// A channel's page as the guest has it: 4096 bytes; nil while there is none.
    public func page(of key: DeviceKey) -> [UInt8]? {
        let guest = guests.first { $0.isRunning && $0.domain == key.frontend }
        return guest?.channels[key]?.frontend?.frame?.bytes
    }

    /// The store's tree as `xenstore-ls -fp` prints it.
    public var storeListing: String {
        (try? world.store.server.listing(of: .root, [.fullPaths, .permissions])) ?? ""
    }
}
