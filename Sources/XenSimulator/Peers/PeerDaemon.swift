// SPDX-License-Identifier: MIT

import XenBus
import XenChannels
import XenHypervisor
import XenInterface

/// The backends of domain 0 that are somebody else's: the QEMU processes of all guests in one actor, or the console daemon.
final class PeerDaemon: PeerProcess {
    let profile: BackendProfile
    /// The domains that it serves.
    private var domains: [DomainID] = []

    /// Where its channels are; it names its own nodes without `/local/domain/…` (D9).
    static let directory = StorePath("backend/console") ?? .root

    init(_ id: Int, _ profile: BackendProfile, among population: Population, in world: World) {
        self.profile = profile
        super.init(id, of: .dom0, among: population, in: world)
    }

    /// How many watches it has in the store when nothing goes wrong and it serves no device.
    var watchCount: Int { profile.service == .primaryConsoles ? 2 + domains.count : domains.count }

    override func begin() {
        switch profile.service {
        case .primaryConsoles:
            watcher.add { self.watcher.ask(.watch(.introduceDomain, token: "domlist")) { _ in } }
            watcher.add { self.watcher.ask(.watch(.releaseDomain, token: "domlist")) { _ in } }
        case .devices:
            // A process that is started again serves those that are there.
            let known = domains
            domains = []
            for domain in known { serve(domain) }
        }
    }

    /// The toolstack starts the process of a guest (B22).
    func serve(_ domain: DomainID) {
        guard profile.service == .devices, !domains.contains(domain) else { return }
        domains.append(domain)
        guard services != nil else { return }
        let directory = PeerDaemon.directory.appending(domain.description)
        watcher.add { self.watcher.ask(.watch(directory, token: "be:\(domain)")) { _ in } }
        watcher.add {
            self.watcher.ask(.directory(directory)) { reply in
                for name in reply.childNames {
                    guard let device = DevicePaths.device(named: name) else { continue }
                    self.watcher.add {
                        guard self.domains.contains(domain) else { return }
                        self.device(DeviceKey(frontend: domain, device: device)).check()
                    }
                }
            }
        }
        world.wake(id)
    }

    /// The guest is gone, and so is the process that served it (R7).
    func leave(_ domain: DomainID) {
        guard profile.service == .devices, domains.contains(domain) else { return }
        domains.removeAll { $0 == domain }
        guard services != nil else { return }
        watcher.add {
            for device in self.devices where device.key.frontend == domain {
                self.watcher.add { (device as? PeerBackend)?.vanish() }
            }
        }
        let directory = PeerDaemon.directory.appending(domain.description)
        watcher.add { self.watcher.ask(.unwatch(directory, token: "be:\(domain)")) { _ in } }
        world.wake(id)
    }

    private func device(_ key: DeviceKey) -> PeerBackend {
        if let device = devices.first(where: { $0.key == key }) as? PeerBackend { return device }
        let device = PeerBackend(key, profile, in: self)
        add(device)
        return device
    }

    // MARK: Watches

    override func take(_ event: StoreWatchEvent) {
        if event.token == "domlist" {
            watcher.add { self.listDomains() }
        } else if event.token.hasPrefix("be:") {
            ownChanged(event.path)
        } else if let device = devices.first(where: { $0.token == event.token }) as? PeerBackend {
            let node = device.other.flatMap { event.path.relative(to: $0) }?.text ?? ""
            watcher.add { device.otherChanged(node) }
        }
    }

    private func ownChanged(_ path: StorePath) {
        guard let parts = path.relative(to: PeerDaemon.directory)?.components, parts.count >= 2,
            let domain = DevicePaths.domain(named: parts[0]), let number = DevicePaths.device(named: parts[1])
        else { return }
        let node = parts.count > 2 ? String(parts[2]) : ""
        watcher.add {
            // Its process may have ended meanwhile.
            guard self.domains.contains(domain) else { return }
            self.device(DeviceKey(frontend: domain, device: number)).ownChanged(node)
        }
    }

    /// `enum_domains`, by hypercall: a watch for each new one, and none for those that are gone (B5).
    private func listDomains() {
        let living = world.hypervisor.livingDomains.filter { $0 != .dom0 }
        for domain in living where !domains.contains(domain) {
            domains.append(domain)
            let device = device(DeviceKey(frontend: domain, device: .primaryConsole))
            watcher.add {
                let steps: [PeerStep] = [.domainPath, .watch(.own(""))]
                PeerScriptRun.run(steps, of: device, on: self.watcher) { _ in device.check() }
            }
        }
        for domain in domains where !living.contains(domain) {
            domains.removeAll { $0 == domain }
            let device = device(DeviceKey(frontend: domain, device: .primaryConsole))
            watcher.add {
                PeerScriptRun.run([.unwatch(.own("")), .detach], of: device, on: self.watcher) { _ in
                    self.remove(device)
                }
            }
        }
    }

    // MARK: The end

    override func forget(_ device: PeerDevice) {
        (device as? PeerBackend)?.die()
    }
}
