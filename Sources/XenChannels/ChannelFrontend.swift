// SPDX-License-Identifier: MIT

public import XenBus
public import XenInterface

/// The frontend of one channel, as a machine: the handshake, with what a channel's nodes mean.
///
/// A console that has a `name` is a channel, for the agent of that name; one without is for a getty. The choice is made by the world when it
/// is asked to `.prepare`.
public struct ChannelFrontend: Hashable, Sendable {
    /// What happens to the machine: the handshake's events, with what the world made.
    public enum Event: Hashable, Sendable {
        /// The device's directory was found. The first event, once.
        case start
        /// The store's reply to the last `.store` action.
        case reply(StoreReply)
        /// The watch on the backend's state fired.
        case backendChanged
        /// A page of zeros is granted and a port allocated.
        case prepared(GrantReference, EventChannelPort)
        /// `.prepare` could not be carried out, for this reason.
        case failed(String)
        /// Something in the device's own directory changed.
        case ownChanged(OwnChange)
        /// The agent ended, or the guest wants to close.
        case close
        /// The device's own directory is gone.
        case removed
        /// `.release` was carried out, or is deferred and accounted for.
        case released
        /// The timer ran out.
        case timeout
    }

    /// What the machine asks of the world.
    public enum Action: Hashable, Sendable {
        /// Send a request; its reply is an event. Never more than one at a time.
        case store(StoreRequest, in: StoreTransactionID)
        /// Zero a page, grant it to the backend, allocate a port for it. `name` is nil for a console without one.
        case prepare(backend: DomainID, name: String?)
        /// Bytes may flow: start the agent.
        case connected
        /// No more bytes.
        case disconnected
        /// End the grant, or defer that if the page is still mapped, and close the port (F5, R10).
        case release
        /// Send `.timeout` after this time, unless stopped or started anew.
        case startTimer(Duration)
        /// Forget the timer.
        case stopTimer
        /// Tell the owner.
        case report(DeviceDiagnostic)
        /// The machine is done.
        case finished
    }

    /// The device.
    public let key: DeviceKey
    @usableFromInline
    var handshake: FrontendHandshake

    /// Makes the machine for a device of the guest's own; `token` is that of its watch.
    public init(key: DeviceKey, token: String) {
        self.key = key
        let directory = DevicePaths.frontend(key.device, of: key.frontend)
        handshake = FrontendHandshake(directory: directory, ownNodes: ["name"], token: token)
    }

    /// How far the handshake is.
    @inlinable
    public var state: FrontendHandshake.State { handshake.state }

    /// The device's own node `state`.
    package var ownState: StorePath { handshake.ownState }

    /// Takes a reply after which all there is to do is the next request, which it returns; nil for any other, which is to come as an event.
    package mutating func advance(_ reply: StoreReply) -> (request: StoreRequest, transaction: StoreTransactionID)? {
        handshake.advance(reply)
    }

    /// Takes an event and asks for what follows from it.
    public mutating func handle(_ event: Event, into actions: inout ActionList<Action>) {
        var asked = ActionList<FrontendHandshake.Action>()
        handshake.handle(translate(event), into: &asked)
        while let action = asked.next() { actions.append(translate(action)) }
    }

    /// Takes an event and returns what follows from it: for tests.
    public mutating func handle(_ event: Event) -> [Action] {
        var actions = ActionList<Action>()
        handle(event, into: &actions)
        return actions.all()
    }

    private func translate(_ event: Event) -> FrontendHandshake.Event {
        switch event {
        case .start: .start
        case .reply(let reply): .reply(reply)
        case .backendChanged: .backendChanged
        case .prepared(let ring, let port):
            .prepared([
                DeviceDetail("ring-ref", StoreValue(decimal: ring.rawValue)),
                DeviceDetail("port", StoreValue(decimal: port.rawValue)),
            ])
        case .failed(let text): .failed(text)
        case .ownChanged(let change): .ownChanged(change)
        case .close: .close
        case .removed: .removed
        case .released: .released
        case .timeout: .timeout
        }
    }

    private func translate(_ action: FrontendHandshake.Action) -> Action {
        switch action {
        case .store(let request, let transaction): .store(request, in: transaction)
        case .prepare(let backend, let values): .prepare(backend: backend, name: values.first.flatMap(\.self)?.text)
        case .connected: .connected
        case .disconnected: .disconnected
        case .release: .release
        case .startTimer(let duration): .startTimer(duration)
        case .stopTimer: .stopTimer
        case .report(let diagnostic): .report(diagnostic)
        case .finished: .finished
        }
    }
}
