// SPDX-License-Identifier: MIT

public import XenBus
public import XenInterface

/// What a frontend published for its backend, checked (B23, B34).
public struct ChannelAttachment: Hashable, Sendable {
    /// The guest that granted the page.
    public let frontend: DomainID
    /// The page's grant: node `ring-ref`.
    public let ring: GrantReference
    /// The guest's port: node `port`.
    public let port: EventChannelPort
    /// How many bytes of the guest may wait outside the ring: node `limit`.
    public let limit: Int

    /// What `limit` is where the node is missing, zero, or no number (A28).
    public static let defaultLimit = 1_048_576
}

/// The backend of one channel, as a machine: the handshake, with what a channel's nodes mean.
///
/// It takes `name`, `connection` and `path` from its own directory only, and believes nothing of the guest's before it was checked.
public struct ChannelBackend: Hashable, Sendable {
    /// What happens to the machine: the handshake's events, with what the world opened.
    public enum Event: Hashable, Sendable {
        /// The device's directory was found. The first event, once.
        case start
        /// The store's reply to the last `.store` action.
        case reply(StoreReply)
        /// The watch on the frontend's state fired.
        case frontendChanged
        /// Something in the own directory changed, or the directory is gone.
        case ownChanged(OwnChange)
        /// The endpoint is open; `tty` is the device of a pty.
        case opened(tty: String?)
        /// The ring is mapped and the port bound.
        case attached
        /// The ring is unmapped and the port closed.
        case detached
        /// `.open` or `.attach` could not be carried out, for this reason.
        case failed(String)
        /// The backend is to stop in order.
        case close
        /// The timer ran out.
        case timeout
    }

    /// What the machine asks of the world.
    public enum Action: Hashable, Sendable {
        /// Send a request; its reply is an event. Never more than one at a time.
        case store(StoreRequest, in: StoreTransactionID)
        /// Open the endpoint. `name` is nil for a console without one.
        case open(ChannelConnection, name: String?)
        /// Bind the port, map the ring, set its `connection` byte to connected, and look at both rings.
        case attach(ChannelAttachment)
        /// Stop the transfer, close the port, unmap the ring.
        case detach
        /// Close the endpoint.
        case closeEndpoint
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
    public var paths: DevicePaths { handshake.paths }
    @usableFromInline
    var handshake: BackendHandshake

    /// Makes the machine for the device at `paths`; `token` is that of its watch.
    public init(paths: DevicePaths, token: String) {
        handshake = BackendHandshake(
            paths: paths,
            backendNodes: ["name", "connection", "kind", "path"],
            frontendNodes: ["ring-ref", "port", "limit"],
            token: token
        )
    }

    /// How far the handshake is.
    @inlinable
    public var state: BackendHandshake.State { handshake.state }

    /// The device's own node `state`.
    package var ownState: StorePath { handshake.ownState }

    /// Takes a reply after which all there is to do is the next request, which it returns; nil for any other, which is to come as an event.
    package mutating func advance(_ reply: StoreReply) -> (request: StoreRequest, transaction: StoreTransactionID)? {
        handshake.advance(reply)
    }

    /// Takes an event and asks for what follows from it.
    public mutating func handle(_ event: Event, into actions: inout ActionList<Action>) {
        var asked = ActionList<BackendHandshake.Action>()
        var next: BackendHandshake.Event? = translate(event)
        while let event = next {
            next = nil
            handshake.handle(event, into: &asked)
            while let action = asked.next() {
                switch translate(action) {
                case .success(let action): actions.append(action)
                case .failure(let refusal): next = .failed(refusal.diagnostic)
                }
            }
        }
    }

    /// Takes an event and returns what follows from it: for tests.
    public mutating func handle(_ event: Event) -> [Action] {
        var actions = ActionList<Action>()
        handle(event, into: &actions)
        return actions.all()
    }

    /// It is `mutating` though it changes nothing: as any other it would be called with a copy of the whole machine.
    private mutating func translate(_ event: Event) -> BackendHandshake.Event {
        switch event {
        case .start: .start
        case .reply(let reply): .reply(reply)
        case .frontendChanged: .frontendChanged
        case .ownChanged(let change): .ownChanged(change)
        case .opened(let tty): .realised(tty.map { [DeviceDetail("tty", StoreValue($0))] } ?? [])
        case .attached: .connected
        case .detached: .disconnected
        case .failed(let text): .failed(DeviceDiagnostic(paths.backend, .service(text)))
        case .close: .close
        case .timeout: .timeout
        }
    }

    /// The handshake's action in the channel's words; a refusal, if the nodes make no sense, is the answer to it.
    private func translate(_ action: BackendHandshake.Action) -> Result<Action, DevicePaths.Refusal> {
        switch action {
        case .store(let request, let transaction): .success(.store(request, in: transaction))
        case .realise(let values): paths.endpoint(values).map { .open($0, name: values[0]?.text) }
        case .connect(let values): paths.attachment(values).map { .attach($0) }
        case .disconnect: .success(.detach)
        case .dispose: .success(.closeEndpoint)
        case .startTimer(let duration): .success(.startTimer(duration))
        case .stopTimer: .success(.stopTimer)
        case .report(let diagnostic): .success(.report(diagnostic))
        case .finished: .success(.finished)
        }
    }
}

// MARK: - What the nodes mean

extension DevicePaths {
    fileprivate struct Refusal: Error {
        let diagnostic: DeviceDiagnostic

        init(_ node: StorePath, _ value: StoreValue?, wanted: String) {
            diagnostic = DeviceDiagnostic(node, value.map { .unexpected($0, wanted: wanted) } ?? .missing)
        }
    }

    /// Reads `connection`, or the older `kind`, and `path`; a device without either is a plain console, served by a pty.
    fileprivate func endpoint(_ values: [StoreValue?]) -> Result<ChannelConnection, Refusal> {
        let node = values[1] == nil ? "kind" : "connection"
        guard let connection = values[1] ?? values[2] else { return .success(.pty) }
        switch connection.text {
        case "pty":
            return .success(.pty)
        case "socket":
            // A path that is no text would name another file than the one that was meant.
            guard let path = values[3], !path.isEmpty, !path.bytes.contains(0), StoreValue(path.text) == path
            else {
                return .failure(Refusal(backend.appending("path"), values[3], wanted: "a socket's path"))
            }
            return .success(.socket(path: path.text))
        default:
            return .failure(Refusal(backend.appending(node), connection, wanted: "pty or socket"))
        }
    }

    /// Reads what the guest wrote: strict decimal, and not 0: that reference is reserved for the primary console (B34, F2).
    fileprivate func attachment(_ values: [StoreValue?]) -> Result<ChannelAttachment, Refusal> {
        let ring = values[0]?.decimal(UInt32.self)
        guard let ring, ring > 0 else {
            return .failure(
                Refusal(frontend.appending("ring-ref"), values[0], wanted: "a grant reference above 0")
            )
        }
        guard let port = values[1]?.decimal(UInt32.self), port > 0 else {
            return .failure(Refusal(frontend.appending("port"), values[1], wanted: "a port above 0"))
        }
        let limit = values[2]?.decimal(Int.self) ?? 0
        return .success(
            ChannelAttachment(
                frontend: frontendDomain,
                ring: GrantReference(ring),
                port: EventChannelPort(port),
                limit: limit > 0 ? limit : ChannelAttachment.defaultLimit
            )
        )
    }
}
