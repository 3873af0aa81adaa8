// SPDX-License-Identifier: MIT

import XenBus
import XenChannels
import XenInterface

/// The backend's machine of a device: a channel's, or that of the primary console, which speaks the same words.
enum BackendMachine: DeviceMachine {
    case channel(ChannelBackend)
    case primaryConsole(PrimaryConsoleBackend)

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

    var isConnected: Bool {
        switch self {
        case .channel(let machine): machine.state == .connected
        case .primaryConsole(let machine): machine.state == .serving
        }
    }

    mutating func handle(_ event: ChannelBackend.Event) -> [ChannelBackend.Action] {
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

/// The guest's machine of a device: a channel's, or that of its primary console, which speaks the same words.
enum FrontendMachine: DeviceMachine {
    case channel(ChannelFrontend)
    case primaryConsole(PrimaryConsoleFrontend)

    init(key: DeviceKey, token: String) {
        if key.device == .primaryConsole {
            self = .primaryConsole(PrimaryConsoleFrontend(of: key.frontend))
        } else {
            self = .channel(ChannelFrontend(key: key, token: token))
        }
    }

    var isConnected: Bool {
        switch self {
        case .channel(let machine): machine.state == .connected
        case .primaryConsole(let machine): machine.state == .connected
        }
    }

    mutating func handle(_ event: ChannelFrontend.Event) -> [ChannelFrontend.Action] {
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
