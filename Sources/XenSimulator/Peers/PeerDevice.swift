// SPDX-License-Identifier: MIT

import XenBus
import XenChannels
import XenHypervisor
import XenInterface
import XenRing

/// One side of one device, played by a peer: what it knows of the store, and its page and port.
class PeerDevice: ChannelEnd {
    let key: DeviceKey
    unowned let process: PeerProcess
    let token: String
    /// The own directory, as the peer spells it.
    let own: StorePath
    /// The other side's directory, once it was read.
    var other: StorePath?
    /// What was read last.
    var values: [PeerNode: StoreValue] = [:]
    /// The own state as written last.
    var announced = XenbusState.unknown
    var reference: GrantReference?
    var port: EventChannelPort?
    var traffic: PeerTraffic

    init(
        _ key: DeviceKey,
        at own: StorePath,
        token: String,
        in process: PeerProcess,
        habits: PeerRingHabits,
        side: ConsoleRole
    ) {
        self.key = key
        self.own = own
        self.token = token
        self.process = process
        traffic = PeerTraffic(habits, side)
    }

    var world: World { process.world }
    var channel: ChannelRecord? { process.population.record(of: key) }
    var isConnected: Bool { announced == .connected && traffic.ring != nil }
    var progress: String { "\(announced)" }
    var frame: PageFrame? { traffic.ring?.access.frame }
    var pipe: Pipe? { traffic.pipe }
    var backlog: Int { traffic.buffer.count }
    var backlogRoom: Int { traffic.isDead ? 0 : traffic.takeRoom }
    var isAttached: Bool { traffic.ring != nil }

    func accept(_: Program) -> Bool { false }
    func close() {}
    func trim() {}
    func makeRing() -> Bool { false }
    func attach() -> Bool { false }
    func detach() {}

    func path(of node: PeerNode) -> StorePath? {
        switch node {
        case .own(let name): name.isEmpty ? own : own.appending(name)
        case .other(let name): name.isEmpty ? other : other?.appending(name)
        }
    }

    func learn(_ node: PeerNode, _ value: StoreValue?) {
        values[node] = value
        if node == .own("backend") || node == .own("frontend") {
            other = value.flatMap { StorePath($0.text) }
        }
    }

    /// The other side's state as read last; nil if it was not there, or is no state.
    var observed: XenbusState? { values[.otherState].flatMap(XenbusState.init(storeValue:)) }

    /// Bytes may flow: the program at the end gets its pipe.
    func open(to program: Program?) {
        guard let program, traffic.pipe == nil || traffic.pipe?.isHungUp == true else { return }
        let pipe = Pipe(device: process.id, program: program.id)
        traffic.pipe = pipe
        program.pipe = pipe
        traffic.look = .all
        world.wake(program.id)
        world.wake(process.id)
    }

    /// The device leads nowhere any more.
    func hangUp(_ program: Program?) {
        if traffic.holdsBytes { channel?.isExact = false }
        program?.hangUp()
        traffic.pipe = nil
    }

    func closePort() {
        guard let port else { return }
        process.unregister(port)
        try? process.services?.events.close(port)
        self.port = nil
        world.note("closes port \(port)")
    }

    /// The port is pending.
    func portFired() {
        guard traffic.ring != nil, traffic.admits(at: world.now) else { return }
        traffic.look = .all
    }
}
