// SPDX-License-Identifier: MIT

import XenBus
import XenExploration
import XenHypervisor
import XenInterface
import XenRing
import XenStore

/// Faults that strike an actor between two steps: crashes, stalls, and guests that break the rules.
final class Disasters {
    private let chance: Chance
    private let likely: [(fault: Fault, weight: Int)]
    private let scripted: [(fault: Fault, steps: [Int])]
    private var next = Int.max
    private var count = 0

    private static let kinds: [Fault] = [
        .backendCrash, .toolstackCrash, .guestCrash, .guestPause, .saveRestore, .frontendClose, .backendClose,
        .backendStall, .clientSlow, .clientVanish, .clientFlood, .hostileIndices, .hostileData, .hostileNodes,
    ]

    init(_ chance: Chance) {
        self.chance = chance
        var likely: [(Fault, Int)] = []
        var scripted: [(Fault, [Int])] = []
        for fault in Disasters.kinds {
            switch chance.plan[fault] {
            case .never: break
            case .perMille(let part): likely.append((fault, part))
            case .occasions(let steps): scripted.append((fault, steps))
            }
        }
        self.likely = likely
        self.scripted = scripted
        plan(after: 0)
    }

    /// Whether something strikes after this step.
    func isDue(at step: Int) -> Bool {
        step >= next || (!scripted.isEmpty && scripted.contains { $0.steps.contains(step) })
    }

    func strike(_ simulation: Simulation) {
        guard chance.isActive else { return }
        let step = simulation.steps
        for (fault, steps) in scripted where steps.contains(step) { carryOut(fault, simulation) }
        guard step >= next else { return }
        let index = chance.choices.index(weights: likely.map(\.weight))
        carryOut(likely[index].fault, simulation)
        plan(after: step)
    }

    /// Draws when the next one strikes: one decision for many steps, of which 0 is "never".
    private func plan(after step: Int) {
        let sum = likely.reduce(0) { $0 + $1.weight }
        guard sum > 0, count < chance.plan.limit else {
            next = .max
            return
        }
        count += 1
        let distance = chance.choices.choose(below: 2000 / sum + 2)
        next = distance == 0 ? .max : step + distance
    }

    private func carryOut(_ fault: Fault, _ simulation: Simulation) {
        guard simulation.suffer(fault) else { return }
        chance.note(fault)
    }
}

extension Simulation {
    /// Lets a fault strike; returns false if there was nobody to be struck.
    func suffer(_ fault: Fault) -> Bool {
        switch fault {
        case .backendCrash:
            guard (population.peerDaemon?.services ?? backend.services) != nil else { return false }
            crashBackend(pause: duration())
        case .toolstackCrash:
            crashToolstack()
        case .guestCrash:
            let running = guests.filter(\.isRunning)
            guard !running.isEmpty else { return false }
            crashGuest(world.chance.choices.pick(from: running).index)
        case .guestPause:
            let running = guests.filter(\.isRunning)
            guard !running.isEmpty else { return false }
            pause(world.chance.choices.pick(from: running), for: duration())
        case .saveRestore:
            let running = guests.filter(\.isRunning)
            guard !running.isEmpty else { return false }
            saveAndRestore(world.chance.choices.pick(from: running).index)
        case .backendStall:
            world.note("the backend stalls")
            let daemon: [Actor] = population.peerDaemon.map { [$0] } ?? [backend] + backend.sortedDevices
            stall(daemon, for: duration())
        case .frontendClose, .backendClose:
            return closeForAWhile(fault)
        case .clientSlow, .clientVanish, .clientFlood:
            let programs = self.programs(of: fault)
            guard !programs.isEmpty else { return false }
            strike(world.chance.choices.pick(from: programs), fault, for: duration())
        case .hostileIndices, .hostileData, .hostileNodes:
            guard let guest = guests.last(where: \.isRunning) else { return false }
            return misbehave(guest, fault, &world.chance.choices)
        case .eventDelayed, .eventSpurious, .droppedEvent, .portRefused, .mapFailed, .watchDelayed, .watchRepeated,
            .storeAgain, .storeConflict, .storeQuota, .storeAccessDenied, .storeNoEntry:
            return false
        }
        return true
    }

    private func duration() -> Duration {
        world.chance.choices.pick(from: [.milliseconds(1), .milliseconds(100), .seconds(1), .seconds(7), .seconds(60)])
    }

    private func stall(_ actors: [Actor], for duration: Duration) {
        for actor in actors { world.stall(actor.id, for: duration) }
    }

    private func pause(_ guest: GuestRecord, for duration: Duration) {
        let kernel: [Actor] = guest.daemon.map { [$0] + $0.sortedDevices } ?? guest.peer.map { [$0] } ?? []
        world.note("guest \(guest.index) is paused")
        stall(kernel + guest.sortedChannels.compactMap(\.record.agent), for: duration)
    }

    /// One side closes a channel in order. Who closed, and a guest whose backend closed, opens it again.
    private func closeForAWhile(_ fault: Fault) -> Bool {
        let running = guests.filter(\.isRunning)
        let sides: [Device] = running.flatMap { guest in
            let devices = fault == .backendClose ? backend.sortedDevices : guest.daemon?.sortedDevices ?? []
            return devices.filter { $0.key.frontend == guest.domain }
        }
        guard !sides.isEmpty else { return false }
        let device = world.chance.choices.pick(from: sides)
        world.note("is closed: \(world.names[device.id])")
        if fault == .backendClose { backend.openAgain(device.key) }
        running.first { $0.domain == device.key.frontend }?.daemon?.openAgain(device.key)
        device.close()
        return true
    }

    private func programs(of fault: Fault) -> [Program] {
        let records = guests.flatMap { $0.sortedChannels.map(\.record) }.filter(\.isExpected)
        let clients = records.compactMap(\.client).filter { $0.pipe != nil }
        if fault == .clientVanish { return clients }
        let programs = clients + records.compactMap(\.agent)
        return fault == .clientFlood ? programs.filter(\.canFlood) : programs
    }

    private func strike(_ program: Program, _ fault: Fault, for duration: Duration) {
        if fault == .clientFlood {
            world.note("floods: \(world.names[program.id])")
            program.flood(world.chance.choices.pick(from: [5000, 20_000, 100_000]))
        } else if fault == .clientVanish {
            world.note("vanishes: \(world.names[program.id])")
            program.hangUp()
            world.timers.start(.init(deadline: world.now + duration, actor: program.id, purpose: .restart))
        } else {
            world.note("is slow: \(world.names[program.id])")
            stall([program], for: duration)
        }
    }
}

// MARK: - Guests that break the rules

extension Simulation {
    private func misbehave(_ guest: GuestRecord, _ fault: Fault, _ choices: inout Choices) -> Bool {
        guard let domain = guest.domain else { return false }
        world.distrust(domain)
        for (_, record) in guest.sortedChannels { record.distrust() }
        if fault == .hostileNodes {
            scribble(in: guest, domain, &choices)
            return true
        }
        let frames = world.frames(of: domain)
        guard !frames.isEmpty else { return false }
        let frame = choices.pick(from: frames)
        if fault == .hostileIndices {
            let corners: [UInt32] = [0, 1, 1024, 1025, 2048, 2049, 0x7FFF_FFFF, 0x8000_0000, .max]
            let value = choices.integer(in: 0...UInt32.max, corners: corners)
            frame.memory.storeRelease(value, at: choices.pick(from: [3072, 3076, 3080, 3084]))
        } else {
            frame.memory.storeReleaseByte(UInt8(choices.choose(below: 256)), at: choices.choose(below: 4096))
        }
        world.note("guest \(guest.index) writes into its page")
        wakeBackend(of: guest, domain)
        return true
    }

    private func wakeBackend(of guest: GuestRecord, _ domain: DomainID) {
        for device in guest.daemon?.sortedDevices ?? [] {
            guard let port = device.port, let upcall = try? world.hypervisor.send(port, from: domain) else { continue }
            world.deliver(upcall)
        }
    }

    private func scribble(in guest: GuestRecord, _ domain: DomainID, _ choices: inout Choices) {
        guard let device = guest.sortedChannels.first?.key.device else { return }
        let names = ["state", "ring-ref", "port", "backend-id", "protocol", "nonsense"]
        let values = ["", "0", "1", "3", "4", "5", "6", "7", "9", "-1", " 8", "8", "4294967295", "4294967296", "x"]
        let path = StorePath.domain(domain).appending("device/console/\(device)").appending(choices.pick(from: names))
        let connection = world.store.connect(as: domain)
        let request: StoreRequest =
            choices.chance(1, in: 8) ? .remove(path) : .write(path, StoreValue(choices.pick(from: values)))
        let reply = connection.perform(request, in: .none)
        world.disconnect(connection.id)
        world.deliverWatches()
        world.note("guest \(guest.index): " + StoreText.of(request, reply))
    }
}
