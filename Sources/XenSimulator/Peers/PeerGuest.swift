// SPDX-License-Identifier: MIT

import XenBus
import XenChannels
import XenInterface

/// A guest's kernel that is somebody else's: finds its devices as Linux does, and brings them up as its profile says.
final class PeerGuest: PeerProcess {
    let profile: FrontendProfile
    /// What is not the watcher: what a kernel does while it boots or resumes.
    let main = PeerThread()
    private var wishes: [() -> Void] = []

    /// Where its channels are; a guest names its own nodes without `/local/domain/…` (D9).
    private static let devices = StorePath("device") ?? .root
    static let directory = StorePath("device/console") ?? .root

    init(_ id: Int, of domain: DomainID, _ profile: FrontendProfile, among population: Population, in world: World) {
        self.profile = profile
        super.init(id, of: domain, among: population, in: world)
    }

    override var interrupts: Bool { true }
    override var threads: [PeerThread] { [main, watcher] }

    override func begin() {
        switch profile.finding {
        case .primaryConsole: adoptConsole()
        case .directory: main.add { self.listDevices() }
        }
    }

    // MARK: Finding devices

    private func listDevices() {
        main.ask(.directory(PeerGuest.devices)) { reply in
            guard reply.childNames.contains("console") else { return self.watchDevices(found: []) }
            self.main.ask(.directory(PeerGuest.directory)) { reply in
                let devices = reply.childNames.compactMap { DevicePaths.device(named: $0) }
                self.readStates(of: devices[...], found: [])
            }
        }
    }

    private func readStates(of devices: ArraySlice<DeviceID>, found: [DeviceID]) {
        guard let device = devices.first else { return watchDevices(found: found) }
        main.ask(.read(PeerGuest.directory.appending(device).appending("state"))) { reply in
            let isNew = reply.nodeValue == XenbusState.initialising.storeValue
            self.readStates(of: devices.dropFirst(), found: found + (isNew ? [device] : []))
        }
    }

    private func watchDevices(found: [DeviceID]) {
        main.ask(.watch(PeerGuest.devices, token: "device")) { _ in }
        for device in found {
            main.add { self.probe(device, on: self.main) }
        }
    }

    /// Brings up a device that is at 1, if it is one for this kernel.
    private func probe(_ device: DeviceID, on thread: PeerThread) {
        let key = DeviceKey(frontend: domain, device: device)
        guard find(device) == nil else { return }
        if profile.numbering == .lastDigit {
            // B14: 10, 20 … read as 0, and 11 as 1.
            let digit = device.rawValue % 10
            guard digit != 0 else { return world.note("refuses device \(device): its last digit is 0") }
            guard !devices.contains(where: { $0.key.device.rawValue % 10 == digit }) else {
                return world.note("refuses device \(device): it has a device \(digit)")
            }
        }
        let frontend = PeerFrontend(key, profile, in: self)
        add(frontend)
        frontend.probe(on: thread)
    }

    private func find(_ device: DeviceID) -> PeerFrontend? {
        devices.first { $0.key.device == device } as? PeerFrontend
    }

    // MARK: Watches

    override func take(_ event: StoreWatchEvent) {
        if event.token == "device" {
            watcher.add { self.deviceChanged(event.path) }
        } else if let device = devices.first(where: { $0.token == event.token }) as? PeerFrontend {
            // An event of a watch that was dropped meanwhile goes with it.
            guard device.path(of: .otherState) == event.path else { return }
            watcher.add { device.backendChanged(on: self.watcher) }
        }
    }

    /// `xenbus_dev_changed`: is the node there still, and if so, is its device known?
    private func deviceChanged(_ path: StorePath) {
        let parts = path.components
        guard parts.count >= 3, parts[1] == "console" else { return }
        watcher.ask(.directory(path)) { reply in
            if case .failure = reply { return self.vanished(path) }
            guard let device = DevicePaths.device(named: parts[2]), self.find(device) == nil else { return }
            let state = PeerGuest.directory.appending(device).appending("state")
            self.watcher.ask(.read(state)) { reply in
                guard reply.nodeValue == XenbusState.initialising.storeValue else { return }
                self.probe(device, on: self.watcher)
            }
        }
    }

    private func vanished(_ path: StorePath) {
        for device in devices where device.own == path || device.own.relative(to: path) != nil {
            guard let frontend = device as? PeerFrontend else { continue }
            watcher.add {
                PeerScriptRun.run([.unwatch(.otherState)], of: frontend, on: self.watcher) { _ in
                    self.watcher.act { self.drop(frontend) }
                }
            }
        }
    }

    private func drop(_ frontend: PeerFrontend) {
        frontend.hangUp(frontend.channel?.agent)
        frontend.freeRing()
        remove(frontend)
    }

    // MARK: The primary console

    private func adoptConsole() {
        let key = DeviceKey(frontend: domain, device: .primaryConsole)
        guard let console = population.console(of: domain) else { return }
        let frontend = PeerFrontend(key, profile, in: self)
        add(frontend)
        frontend.adopt(console.frame, console.port)
    }

    // MARK: Save and restore

    /// Calls `body` when it has taken all events and done what they called for: the wish to be suspended is an event after them.
    func whenAtRest(_ body: @escaping () -> Void) {
        wishes.append(body)
        world.wake(id)
    }

    /// Whether it has.
    var isAtRest: Bool { threads.allSatisfy(\.isIdle) && services?.hasWatchEvent == false }

    override func rested() {
        let wishes = wishes
        self.wishes = []
        for wish in wishes { wish() }
    }

    /// Stops, with all that it knows; what it held in the hypervisor and in the store goes with the domain.
    func suspend() {
        for device in devices { (device as? PeerFrontend)?.loseRing() }
        halt()
    }

    /// Goes on as another domain (B16, R11): the watches are registered again, the newest first, and each device is brought up anew. All of
    /// it is done by the thread that takes the watch events.
    func resume(as domain: DomainID) {
        let old = devices.compactMap { $0 as? PeerFrontend }
        end()
        start(as: domain, resuming: true)
        guard profile.finding == .directory else { return adoptConsole() }
        for device in old.reversed() {
            guard let path = device.path(of: .otherState) else { continue }
            watcher.add { self.watcher.ask(.watch(path, token: device.token)) { _ in } }
        }
        watcher.add { self.watcher.ask(.watch(PeerGuest.devices, token: "device")) { _ in } }
        for device in old {
            guard let path = device.path(of: .otherState) else { continue }
            watcher.add { self.watcher.ask(.unwatch(path, token: device.token)) { _ in } }
            watcher.add { self.probe(device.key.device, on: self.watcher) }
        }
    }

    // MARK: The end

    override func forget(_ device: PeerDevice) {
        device.hangUp(device.channel?.agent)
        device.traffic.ring?.access.isLive = false
    }
}
