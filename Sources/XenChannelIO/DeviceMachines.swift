// SPDX-License-Identifier: MIT

import XenBus
import XenChannels
import XenInterface

/// The machine of one side of a device: a channel's, or that of a primary console, which speaks the same words.
enum ChannelOrConsole<Channel: DeviceMachine, Console: DeviceMachine>: DeviceMachine
where Channel.Event == Console.Event, Channel.Action == Console.Action {
    case channel(Channel)
    case primaryConsole(Console)

    var isConnected: Bool {
        switch self {
        case .channel(let machine): machine.isConnected
        case .primaryConsole(let machine): machine.isConnected
        }
    }

    mutating func handle(_ event: Channel.Event) -> [Channel.Action] {
        switch self {
        case .channel(var machine):
            defer { self = .channel(machine) }
            return machine.handle(event)
        case .primaryConsole(var machine):
            defer { self = .primaryConsole(machine) }
            return machine.handle(event)
        }
    }
}

extension ChannelBackend: DeviceMachine {
    var isConnected: Bool { state == .connected }
}

extension PrimaryConsoleBackend: DeviceMachine {
    var isConnected: Bool { state == .serving }
}

extension ChannelFrontend: DeviceMachine {
    var isConnected: Bool { state == .connected }
}

extension PrimaryConsoleFrontend: DeviceMachine {
    var isConnected: Bool { state == .connected }
}

typealias BackendMachine = ChannelOrConsole<ChannelBackend, PrimaryConsoleBackend>
typealias FrontendMachine = ChannelOrConsole<ChannelFrontend, PrimaryConsoleFrontend>

extension BackendMachine {
    init(paths: DevicePaths, token: String) {
        if paths.device == .primaryConsole {
            self = .primaryConsole(PrimaryConsoleBackend(paths: paths, token: token))
        } else {
            self = .channel(ChannelBackend(paths: paths, token: token))
        }
    }

    var paths: DevicePaths {
        switch self {
        case .channel(let machine): machine.paths
        case .primaryConsole(let machine): machine.paths
        }
    }
}

extension FrontendMachine {
    init(key: DeviceKey, token: String) {
        if key.device == .primaryConsole {
            self = .primaryConsole(PrimaryConsoleFrontend(of: key.frontend))
        } else {
            self = .channel(ChannelFrontend(key: key, token: token))
        }
    }
}
