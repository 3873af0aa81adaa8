// SPDX-License-Identifier: MIT

import XenBus
import XenChannels
import XenInterface

/// The machine of one side of a device, as a shell drives it.
protocol DeviceMachine {
    associatedtype Event: DeviceEvent
    associatedtype Action

    /// Both sides are connected.
    var isConnected: Bool { get }

    mutating func handle(_ event: Event) -> [Action]
}

/// What either side's machine is told.
protocol DeviceEvent {
    static var start: Self { get }
    /// The watch on the other side's state fired.
    static var peerChanged: Self { get }
    static func ownChanged(_ change: OwnChange) -> Self
    /// The own directory is gone.
    static var vanished: Self { get }
    static var close: Self { get }
    static var timeout: Self { get }
    static func reply(_ reply: StoreReply) -> Self
}

extension ChannelBackend.Event: DeviceEvent {
    static var peerChanged: Self { .frontendChanged }
    // The machine looks for itself.
    static var vanished: Self { .ownChanged(.other) }
}

extension ChannelFrontend.Event: DeviceEvent {
    static var peerChanged: Self { .backendChanged }
    static var vanished: Self { .removed }
}

/// One side of one device in a live world: carries out what its machine asks for.
protocol ServedDevice: AnyObject {
    associatedtype Machine: DeviceMachine

    var key: DeviceKey { get }
    var drive: MachineDrive<Machine> { get set }
    var reactor: Reactor { get }
    /// Is told of its port's events.
    var listener: PortListener { get }

    /// Does one thing that the machine asks for.
    func carryOut(_ action: Machine.Action)

    /// The machine is connected, or is no longer.
    func connectionChanged()
}

/// A machine, the events it has not seen, and its timer.
struct MachineDrive<Machine: DeviceMachine> {
    fileprivate(set) var machine: Machine
    fileprivate var events: [Machine.Event] = []
    fileprivate var isRunning = false
    fileprivate var timer: Reactor.Timer?

    init(_ machine: Machine) {
        self.machine = machine
    }
}

extension ServedDevice {
    var machine: Machine { drive.machine }

    /// Gives the machine `.timeout` after this time, once, and not when it was to get it before.
    func startTimer(_ duration: Duration) {
        let timer = drive.timer ?? Reactor.Timer { [unowned self] in handle(.timeout) }
        drive.timer = timer
        reactor.start(timer, after: duration)
    }

    /// To be called before the device goes as well.
    func stopTimer() {
        drive.timer?.cancel()
    }

    /// Gives the machine an event, and carries out all that follows from it; while that goes on, further events wait.
    func handle(_ event: Machine.Event) {
        drive.events.append(event)
        guard !drive.isRunning else { return }
        drive.isRunning = true
        let wasConnected = machine.isConnected
        while !drive.events.isEmpty {
            let next = drive.events.removeFirst()
            let actions = drive.machine.handle(next)
            for action in actions { carryOut(action) }
        }
        // Who is told may close everything, which gives the machine further events.
        drive.isRunning = false
        if wasConnected != machine.isConnected { connectionChanged() }
    }
}
