// SPDX-License-Identifier: MIT

import XenBus
import XenHypervisor
import XenInterface

/// A driver domain's daemon.
final class BackendDaemon: Daemon {
    private let population: Population

    init(_ id: Int, of domain: DomainID, among population: Population, in world: World) {
        self.population = population
        super.init(id, of: domain, in: world) { DeviceScanner(backend: domain, token: Daemon.scannerToken) }
    }

    override func directory(of key: DeviceKey) -> StorePath {
        DevicePaths(frontend: key.frontend, backend: domain, device: key.device).backend
    }

    override func makeDevice(_ key: DeviceKey, token: String) -> Device? {
        let id = world.column(of: .backend, key)
        return BackendDevice(id, key, of: population.record(of: key), for: self, backend: domain, token: token)
    }
}

/// A guest's kernel and its agents.
final class GuestDaemon: Daemon {
    private let population: Population

    init(_ id: Int, of domain: DomainID, among population: Population, in world: World) {
        self.population = population
        super.init(id, of: domain, in: world) { DeviceScanner(frontend: domain, token: Daemon.scannerToken) }
    }

    /// A kernel finds its primary console without the store (B1).
    override func begin() {
        if console != nil { appeared(DeviceKey(frontend: domain, device: .primaryConsole)) }
    }

    override var console: (frame: PageFrame, port: EventChannelPort)? { population.console(of: domain) }

    override func lookAgain(at key: DeviceKey) {
        if key.device == .primaryConsole { appeared(key) } else { super.lookAgain(at: key) }
    }

    override func makeDevice(_ key: DeviceKey, token: String) -> Device? {
        let id = world.column(of: .frontend, key)
        return FrontendDevice(id, key, of: population.record(of: key), for: self, token: token)
    }
}
