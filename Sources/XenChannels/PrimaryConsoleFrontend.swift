// SPDX-License-Identifier: MIT

public import XenBus
public import XenInterface

/// The frontend of a guest's primary console, device 0, as a machine: it is connected as soon as its page and port are found (B1, B3).
///
/// It speaks a channel's words, so that a world drives both alike, but it asks nothing of the store: there are no states (B4). For this
/// device `.prepare` means to look up what the domain builder left, in `start_info` or the parameters `CONSOLE_PFN` and `CONSOLE_EVTCHN`,
/// where 0 is none; the page is granted as `GrantReference.console` already (B2), and may hold bytes: its ring is attached to, not begun
/// afresh. `.release` means to leave them alone again. A guest that was resumed makes the machine anew (B16).
public struct PrimaryConsoleFrontend: Hashable, Sendable {
    /// A channel's events; those about the store say nothing here.
    public typealias Event = ChannelFrontend.Event
    /// A channel's actions; none of them is about the store.
    public typealias Action = ChannelFrontend.Action

    /// How far the frontend is.
    public enum State: Hashable, Sendable, CaseIterable {
        /// Not begun.
        case idle
        /// The world looks up page and port.
        case preparing
        /// Bytes may flow.
        case connected
        /// The world leaves page and port alone.
        case releasing
        /// Done.
        case finished
    }

    /// The device.
    public let key: DeviceKey
    /// How far it is.
    public private(set) var state = State.idle
    private var wantsToClose = false

    /// Makes the machine for the console of a guest's own.
    public init(of domain: DomainID) {
        key = DeviceKey(frontend: domain, device: .primaryConsole)
    }

    /// Takes an event and asks for what follows from it.
    public mutating func handle(_ event: Event, into actions: inout ActionList<Action>) {
        switch (event, state) {
        case (.start, .idle):
            state = .preparing
            // Whoever serves it was chosen by the toolstack, which made the port for him (B3).
            actions.append(.prepare(backend: .dom0, name: nil))
        case (.prepared, .preparing):
            state = .connected
            actions.append(.connected)
            if wantsToClose { close(into: &actions) }
        case (.failed(let text), .preparing):
            state = .finished
            actions.append(.report(DeviceDiagnostic(.domain(key.frontend), .service(text))))
            actions.append(.finished)
        case (.close, .connected), (.removed, .connected):
            close(into: &actions)
        case (.close, .preparing), (.removed, .preparing):
            wantsToClose = true
        case (.close, .idle):
            state = .finished
            actions.append(.finished)
        case (.released, .releasing):
            state = .finished
            actions.append(.finished)
        case (.start, _), (.reply, _), (.backendChanged, _), (.prepared, _), (.failed, _), (.ownChanged, _),
            (.close, _), (.removed, _), (.released, _), (.timeout, _):
            break
        }
    }

    /// Takes an event and returns what follows from it: for tests.
    public mutating func handle(_ event: Event) -> [Action] {
        var actions = ActionList<Action>()
        handle(event, into: &actions)
        return actions.all()
    }

    private mutating func close(into actions: inout ActionList<Action>) {
        state = .releasing
        actions.append(.disconnected)
        actions.append(.release)
    }
}
