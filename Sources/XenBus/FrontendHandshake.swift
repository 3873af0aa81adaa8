// SPDX-License-Identifier: MIT

public import XenInterface

/// What a frontend publishes for its backend: a node of its directory, `ring-ref` or `port`.
public struct DeviceDetail: Hashable, Sendable {
    /// The node's name within the directory.
    public let name: String
    /// The node's value.
    public let value: StoreValue

    /// Names a node and its value.
    public init(_ name: String, _ value: StoreValue) {
        self.name = name
        self.value = value
    }
}

/// The guest's side of bringing a device up and down through the store, as a machine (B14 to B21, B33, R5, R6).
///
/// ```text
/// frontend                                    backend
/// 1 read backend, backend-id                  1 → 2
/// 3, ring-ref, port (one transaction), watch  4
/// 4 connected
///   …
/// 5 (unless the backend closed first)         5
/// 6, retract, release                         6
/// ```
///
/// It decides by what the backend's `state` is when it looks, never by counting changes: watch events are merged, repeated, and
/// fire once at registration (B35).
///
/// A device whose nodes are not complete yet is waited for: who writes them one by one fires a watch for each (R8). A device that an earlier
/// life of the guest left open is first closed and brought back to 1, as far as the backend still has to be led through that:
/// 5, 6, 1, then the backend's 2 (B16a). The same way it comes back by itself after its backend has closed it, unless that is unplugged
/// (`online` = 0): a backend that is stopped in order and started again finds its frontend waiting at 1. Linux stays at 6 (B25).
///
/// Whoever reads its numbers may map what they stand for. So the page and the port are kept until the numbers are gone from the
/// store: a store that refuses to let them go, or to be told of state 6, is asked again every `retryInterval`, in the state
/// `holding`; that is reported once.
///
/// What it does in each state, and on each event, is the table in <doc:Handshakes>.
public struct FrontendHandshake: Hashable, Sendable {
    /// What happens to the machine.
    public enum Event: Hashable, Sendable {
        /// The device's directory was found. The first event, once.
        case start
        /// The store's reply to the last `.store` action.
        case reply(StoreReply)
        /// The watch on the backend's state fired.
        case backendChanged
        /// `.prepare` was carried out: these nodes are to be published.
        case prepared([DeviceDetail])
        /// `.prepare` could not be carried out.
        case failed(String)
        /// Something in the own directory changed.
        case ownChanged(OwnChange)
        /// The guest wants to close the device.
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
        /// Zero a page, grant it to the backend, and allocate a port for it. The values are those of `ownNodes`, nil where
        /// there was none.
        case prepare(backend: DomainID, [StoreValue?])
        /// Both sides are connected: bytes may flow.
        case connected
        /// No more bytes.
        case disconnected
        /// End the grant, or defer that if the page is still mapped, and close the port.
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

    /// How far the frontend is; the raw values count the cases.
    public enum State: UInt8, Hashable, Sendable, CaseIterable {
        /// Not begun.
        case idle
        /// Reads what the toolstack wrote.
        case reading
        /// Something in the own directory is wrong or missing; waits for a change.
        case refused
        /// Looks whether the backend is still in an earlier life.
        case comparing
        /// The world makes the page and the port.
        case preparing
        /// Writes their numbers, and state 3.
        case publishing
        /// Registers the watch on the backend's state.
        case subscribing
        /// Waits for the backend to be at 4.
        case waiting
        /// Writes state 4.
        case confirming
        /// Bytes may flow.
        case connected
        /// Writes state 5.
        case closing
        /// Waits for the backend to be at 5 or more.
        case awaitingClosing
        /// Writes state 6.
        case closed
        /// Waits for the backend to be at 6.
        case awaitingClosed
        /// Writes state 1 again.
        case returning
        /// Leads a device of an earlier life back: waits for the backend to be at 2.
        case awaitingReturn
        /// Removes its numbers and the watch.
        case retracting
        /// The store refuses to let the numbers go: page and port are kept until it does.
        case holding
        /// The world takes the page and the port back.
        case releasing
        /// Done.
        case finished
    }

    /// The guest's directory of the device.
    public var directory: StorePath { ownState.parent ?? .root }
    /// Names of the own nodes whose values `.prepare` carries.
    public let ownNodes: [String]
    /// The token of its watch; unique among the watches of the connection.
    public let token: String
    /// How far it is.
    public package(set) var state = State.idle
    /// How long the backend may take to follow a step of closing, or of coming back.
    public static let closingPatience = Duration.seconds(5)
    /// How long after a refusal the store is asked again to let the numbers go.
    public static let retryInterval = Duration.seconds(5)

    /// The two nodes that are looked at all the time: `state` on both sides.
    package let ownState: StorePath
    var backendState: StorePath?
    var backendDomain = DomainID.dom0
    var ownValues: [StoreValue?] = []
    var details: [DeviceDetail] = []
    package var script: StoreScript?
    /// What is in flight looks at this; nil if it belongs to the state.
    package var looking: Look?
    var mustLook = false
    var mustLookAtOwn = false
    var wantsToClose = false
    var isPrepared = false
    /// The numbers are in the store, or may be.
    var isPublished = false
    var isWatching = false
    /// The store refused state 6, which the backend has to be told.
    var mustSayClosed = false
    /// Why the numbers could not be removed, until it is known whether they are there at all.
    var refusal: Refusal?
    /// The store's refusal was reported, and lasts.
    var isHeld = false
    /// The own directory is gone: nothing more is written.
    var isGone = false
    /// The directory is gone or was made anew under our feet: nothing more is written before it was read again.
    var isReborn = false
    /// The device is in an earlier life, and led back to 1.
    var isReturning = false
    /// The backend closed the device: what it comes back to once all is taken back.
    var revival = Revival.none
    /// How often in a row it came back after a while and was not connected.
    var fruitless: UInt8 = 0
    static let maximumFruitless: UInt8 = 5
    var timer = HandshakeTimer.stopped
    /// The state written last; what the toolstack wrote, at first.
    var announced = XenbusState.initialising
    var observed: XenbusState?
    var peerReports = ReportBudget()

    /// Which of the details the store did not remove, and its answer.
    struct Refusal: Hashable {
        let detail: Int32
        let code: StoreErrorCode
    }

    /// How a device goes on that its backend has closed.
    enum Revival: Hashable {
        /// Not at all: the device closes for good.
        case none
        /// It begins anew at once: it had been connected.
        case prompt
        /// It begins anew after a while, and after some attempts only when the backend does: else two sides that cannot agree would keep
        /// each other busy.
        case late
        /// Not any more: the backend is unplugged.
        case over

        var isWanted: Bool { self == .prompt || self == .late }
    }

    package enum Look: Hashable {
        /// Whether the own directory is there.
        case directory
        case own
        case backend
        /// Whether the own numbers are still in the store.
        case numbers
    }

    /// Makes the machine for the device whose guest directory is `directory`.
    public init(directory: StorePath, ownNodes: [String] = [], token: String) {
        ownState = directory.appending("state")
        self.ownNodes = ownNodes
        self.token = token
    }

    /// Takes a reply after which all there is to do is the script's next request, which it returns: most are such. Nil for any other, which
    /// the machine is to have as an event, with nothing changed.
    package mutating func advance(_ reply: StoreReply) -> (request: StoreRequest, transaction: StoreTransactionID)? {
        script?.advance(reply)
    }

    /// Takes an event and asks for what follows from it.
    ///
    /// Traps for a second `.start`, and for nothing else: an event that says nothing in the state at hand is passed over.
    public mutating func handle(_ event: Event, into actions: inout ActionList<Action>) {
        guard state != .finished || event == .start else { return }
        switch event {
        case .start:
            precondition(state == .idle, "a handshake starts once")
            read(into: &actions)
        case .reply(let reply):
            handle(reply, into: &actions)
        case .backendChanged:
            mustLook = true
            react(into: &actions)
        case .ownChanged(let change):
            // The own state is mostly the machine's own doing, and who makes the directory anew changes that as well.
            guard change != .state || state == .reading || state == .refused else { return }
            mustLookAtOwn = true
            react(into: &actions)
        case .prepared(let details):
            guard state == .preparing else { return }
            self.details = details
            isPrepared = true
            if isGone { return abandon(into: &actions) }
            publish(into: &actions)
        case .failed(let text):
            guard state == .preparing else { return }
            actions.append(.report(DeviceDiagnostic(directory, .service(text))))
            if isGone { return abandon(into: &actions) }
            say(.closed, entering: .closed, into: &actions)
        case .close:
            wantsToClose = true
            react(into: &actions)
        case .removed:
            isGone = true
            // A script in flight runs to its end first, so that no transaction stays open.
            if !isRunning, state != .preparing { abandon(into: &actions) }
        case .released:
            guard state == .releasing else { return }
            isPrepared = false
            end(into: &actions)
        case .timeout:
            guard timer == .running else { return }
            timer = .expired
            // Without a watch, or with a late one, what was waited for may have come.
            mustLook = true
            react(into: &actions)
        }
    }

    /// Takes an event and returns what follows from it: for tests.
    public mutating func handle(_ event: Event) -> [Action] {
        var actions = ActionList<Action>()
        handle(event, into: &actions)
        return actions.all()
    }
}
