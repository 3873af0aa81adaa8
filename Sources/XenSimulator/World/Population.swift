// SPDX-License-Identifier: MIT

import XenBus
import XenChannels
import XenInterface

/// The guests of a world and their channels, as the toolstack has made them.
final class Population {
    private unowned let world: World
    private(set) var guests: [GuestRecord] = []
    /// The backends, if they are not ours.
    var peerDaemon: PeerDaemon?
    private var guestOfDomain: [DomainID: GuestRecord] = [:]

    init(_ world: World) {
        self.world = world
    }

    func add(_ plans: [ChannelPlan]) -> Int {
        let guest = GuestRecord(guests.count)
        for (position, plan) in plans.enumerated() { guest.plans[DeviceID(UInt32(position + 1))] = SharedPlan(plan) }
        guests.append(guest)
        return guest.index
    }

    func setPlan(_ plan: ChannelPlan, of device: DeviceID, in guest: Int) {
        guests[guest].plans[device] = SharedPlan(plan)
    }

    /// The primary console of a domain, as the toolstack made it.
    func console(of domain: DomainID) -> (frame: PageFrame, port: EventChannelPort)? {
        guestOfDomain[domain]?.console
    }

    /// The toolstack made a domain for a guest.
    func created(_ domain: DomainID, for guest: GuestRecord) {
        guest.domain = domain
        guestOfDomain[domain] = guest
    }

    func record(of key: DeviceKey) -> ChannelRecord? {
        guestOfDomain[key.frontend]?.channels[key]
    }

    /// A guest's kernel starts.
    func boot(_ guest: GuestRecord) {
        guard let domain = guest.domain, !guest.isRunning else { return }
        guest.isRunning = true
        peerDaemon?.serve(domain)
        if guest.isSaved, let peer = guest.peer {
            guest.isSaved = false
            return peer.resume(as: domain)
        }
        if let profile = guest.profile { return boot(guest, domain, profile) }
        let daemon = GuestDaemon(world.column(named: "guest\(domain)"), of: domain, among: self, in: world)
        world.replace(daemon)
        guest.daemon = daemon
        daemon.start()
    }

    private func boot(_ guest: GuestRecord, _ domain: DomainID, _ profile: FrontendProfile) {
        let peer = PeerGuest(world.column(named: "guest\(domain)"), of: domain, profile, among: self, in: world)
        world.replace(peer)
        guest.peer = peer
        peer.start()
    }

    /// A guest is suspended, and what serves it is ended. Its kernel and its programs come back; its rings do not (R11).
    ///
    /// A kernel of ours brings its devices up with new machines when it resumes: their paths are those of another domain, and what the old
    /// ones held is gone with the old one.
    func suspend(_ guest: GuestRecord) {
        guard let domain = guest.domain else { return }
        for (key, record) in guest.sortedChannels where record.isExpected {
            guest.saved[key.device] = record.suspend()
        }
        guest.daemon?.crash()
        guest.peer?.suspend()
        guest.isSaved = guest.peer != nil
        guest.isRunning = false
        peerDaemon?.leave(domain)
    }

    /// A guest's kernel ends.
    func stop(_ guest: GuestRecord) {
        guest.daemon?.crash()
        if !guest.isSaved { guest.peer?.crash() }
        if let domain = guest.domain { peerDaemon?.leave(domain) }
        guest.isRunning = false
        for (_, record) in guest.sortedChannels {
            record.isExpected = false
            record.isExact = false
            record.isCounted = false
        }
    }

    /// The nodes of a channel, or of the primary console, are there.
    func attached(_ device: DeviceID, to guest: GuestRecord) {
        guard let domain = guest.domain else { return }
        let key = DeviceKey(frontend: domain, device: device)
        guard let shared = guest.plans[device], guest.channels[key]?.isExpected != true else { return }
        let plan = shared.plan
        let record = ChannelRecord(shared)
        record.isExpected = true
        if world.isHostile(domain) { record.distrust() }
        guest.channels[key] = record
        if let saved = guest.saved.removeValue(forKey: device) { return record.resume(saved) }
        let base = UInt64(domain.rawValue) << 33 | UInt64(device.rawValue) << 1
        let answers = plan.agent == .echo ? base : base | 1
        record.client = program(.client, key, plan.client, of: record, own: base, peer: answers)
        record.agent = program(.agent, key, plan.agent, of: record, own: base | 1, peer: base)
    }

    /// The nodes of a channel are gone.
    func removed(_ device: DeviceID, from guest: GuestRecord) {
        if guest.saved[device] == nil { guest.configurations[device] = nil }
        guard let domain = guest.domain else { return }
        guest.channels[DeviceKey(frontend: domain, device: device)]?.isExpected = false
    }

    private func program(
        _ role: ChannelRole,
        _ key: DeviceKey,
        _ behavior: ProgramBehavior,
        of record: ChannelRecord,
        own: UInt64,
        peer: UInt64
    ) -> Program {
        let column = world.column(of: role, key)
        let program = Program(column, of: record, in: world, behavior: behavior, ownPattern: own, peerPattern: peer)
        world.replace(program)
        return program
    }

    /// Lets go of everybody, at the world's end: guests and their programs know each other.
    func dismantle() {
        for guest in guests {
            for channel in guest.channels.values {
                channel.client = nil
                channel.agent = nil
            }
            guest.channels = [:]
            guest.saved = [:]
            guest.daemon = nil
            guest.peer?.end()
            guest.peer = nil
        }
        peerDaemon?.end()
        peerDaemon = nil
        guests = []
        guestOfDomain = [:]
    }
}

/// A guest of the simulated host, from its making to its end.
final class GuestRecord {
    let index: Int
    /// What its channels are to be, by device.
    var plans: [DeviceID: SharedPlan] = [:]
    var domain: DomainID?
    var skeleton: DomainSkeleton?
    var storePort: EventChannelPort?
    var storeFrame: FrameNumber?
    var daemon: GuestDaemon?
    /// Its kernel, if that is not ours, and how that behaves.
    var peer: PeerGuest?
    var profile: FrontendProfile?
    /// Where the indices of its primary console begin: as after so many bytes.
    var consoleOrigin: UInt32 = 0
    /// The page and the port of its primary console, if it has one.
    var console: (frame: PageFrame, port: EventChannelPort)?
    var channels: [DeviceKey: ChannelRecord] = [:]
    /// Its channels, as they were attached.
    var configurations: [DeviceID: ChannelConfiguration] = [:]
    /// Its channels while it is saved.
    var saved: [DeviceID: SavedChannel] = [:]
    /// Its kernel, which is not ours, waits to be resumed.
    var isSaved = false
    /// Its kernel runs.
    var isRunning = false
    /// It crashed: the toolstack gives it nothing more.
    var isDead = false

    init(_ index: Int) {
        self.index = index
    }

    /// The plans by device number.
    var sortedPlans: [(device: DeviceID, plan: ChannelPlan)] {
        plans.map { ($0.key, $0.value.plan) }.sorted { $0.device.rawValue < $1.device.rawValue }
    }

    /// The channels by device number.
    var sortedChannels: [(key: DeviceKey, record: ChannelRecord)] {
        let channels = channels.map { (key: $0.key, record: $0.value) }
        return channels.count < 2 ? channels : channels.sorted { $0.key.device.rawValue < $1.key.device.rawValue }
    }
}
