// SPDX-License-Identifier: MIT

import XenBus
import XenChannels
import XenInterface

/// The machine of a backend's device: a channel's, or that of a primary console, which speaks the same words.
///
/// Each lies in a slot of its own, so that an event changes it where it is.
enum BackendMachine: ~Copyable {
    case channel(Slot<ChannelBackend>)
    case console(Slot<PrimaryConsoleBackend>)

    init(_ paths: DevicePaths, token: String) {
        if paths.device == .primaryConsole {
            self = .console(Slot(PrimaryConsoleBackend(paths: paths, token: token)))
        } else {
            self = .channel(Slot(ChannelBackend(paths: paths, token: token)))
        }
    }

    var isConnected: Bool {
        switch self {
        case .channel(let slot): slot.value.state == .connected
        case .console(let slot): slot.value.state == .serving
        }
    }

    /// The node `state` in the own directory; a console's side never writes it (B4).
    var ownState: StorePath {
        switch self {
        case .channel(let slot): slot.value.ownState
        case .console(let slot): slot.value.paths.backend.appending("state")
        }
    }

    /// How far a channel's handshake is; nil for a console, which has none (B4).
    var handshake: BackendHandshake.State? {
        switch self {
        case .channel(let slot): slot.value.state
        case .console: nil
        }
    }

    var progress: String {
        switch self {
        case .channel(let slot): "\(slot.value.state)"
        case .console(let slot): "\(slot.value.state)"
        }
    }

    /// As the machine's own: a reply in the middle of a script, unless something may stand in for the machine.
    func advance(
        _ reply: StoreReply,
        in world: World
    ) -> (request: StoreRequest, transaction: StoreTransactionID)? {
        guard world.substitution == nil else { return nil }
        return switch self {
        case .channel(let slot): slot.value.advance(reply)
        case .console: nil
        }
    }

    func handle(_ event: ChannelBackend.Event, in world: World, into actions: inout ActionList<ChannelBackend.Action>) {
        switch self {
        case .channel(let slot):
            world.coverage.note(event, in: slot.value.state)
            guard let substitution = world.substitution else { return slot.value.handle(event, into: &actions) }
            for action in substitution.handle(event, by: &slot.value) { actions.append(action) }
        case .console(let slot):
            guard let substitution = world.substitution else { return slot.value.handle(event, into: &actions) }
            for action in substitution.handle(event, by: &slot.value) { actions.append(action) }
        }
    }

    func hash(into hasher: inout Hasher) {
        switch self {
        case .channel(let slot): hasher.combine(slot.value)
        case .console(let slot): hasher.combine(slot.value)
        }
    }
}

/// The machine of a frontend's device, as `BackendMachine` is that of a backend's.
enum FrontendMachine: ~Copyable {
    case channel(Slot<ChannelFrontend>)
    case console(Slot<PrimaryConsoleFrontend>)

    init(_ key: DeviceKey, token: String) {
        if key.device == .primaryConsole {
            self = .console(Slot(PrimaryConsoleFrontend(of: key.frontend)))
        } else {
            self = .channel(Slot(ChannelFrontend(key: key, token: token)))
        }
    }

    var isConnected: Bool {
        switch self {
        case .channel(let slot): slot.value.state == .connected
        case .console(let slot): slot.value.state == .connected
        }
    }

    /// The node `state` in the own directory; a console's side never writes it (B4).
    var ownState: StorePath {
        switch self {
        case .channel(let slot): slot.value.ownState
        case .console(let slot):
            DevicePaths.frontend(slot.value.key.device, of: slot.value.key.frontend).appending("state")
        }
    }

    /// How far a channel's handshake is; nil for a console, which has none (B4).
    var handshake: FrontendHandshake.State? {
        switch self {
        case .channel(let slot): slot.value.state
        case .console: nil
        }
    }

    var progress: String {
        switch self {
        case .channel(let slot): "\(slot.value.state)"
        case .console(let slot): "\(slot.value.state)"
        }
    }

    /// As the machine's own: a reply in the middle of a script, unless something may stand in for the machine.
    func advance(
        _ reply: StoreReply,
        in world: World
    ) -> (request: StoreRequest, transaction: StoreTransactionID)? {
        guard world.substitution == nil else { return nil }
        return switch self {
        case .channel(let slot): slot.value.advance(reply)
        case .console: nil
        }
    }

    func handle(
        _ event: ChannelFrontend.Event,
        in world: World,
        into actions: inout ActionList<ChannelFrontend.Action>
    ) {
        switch self {
        case .channel(let slot):
            world.coverage.note(event, in: slot.value.state)
            guard let substitution = world.substitution else { return slot.value.handle(event, into: &actions) }
            for action in substitution.handle(event, by: &slot.value) { actions.append(action) }
        case .console(let slot):
            guard let substitution = world.substitution else { return slot.value.handle(event, into: &actions) }
            for action in substitution.handle(event, by: &slot.value) { actions.append(action) }
        }
    }

    func hash(into hasher: inout Hasher) {
        switch self {
        case .channel(let slot): hasher.combine(slot.value)
        case .console(let slot): hasher.combine(slot.value)
        }
    }
}
