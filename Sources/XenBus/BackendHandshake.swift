// SPDX-License-Identifier: MIT

public import XenInterface

/// The driver domain's side of bringing a device up and down through the store, as a machine (B21 to B29, B34, R5, R6).
///
/// It accepts a frontend at 3 or at 4 as ready (B21), announces state 2 early and 4 last, and follows a frontend that closes, comes
/// back, or vanishes. A device found in any state is taken up from the start, so that a backend that was killed and started
/// again serves a frontend that never noticed (B7, B25).
///
/// A frontend that publishes anew while it is connected (a guest that resumed, B16) is attached anew: each change of its state is a
/// reason to read what it published, and what differs from what is mapped counts (B23).
///
/// Everything in the frontend's directory is the guest's to write: it decides nothing but this device, and only after it was checked.
///
/// What it does in each state, and on each event, is the table in <doc:Handshakes>.
public struct BackendHandshake: Hashable, Sendable {
    /// What happens to the machine.
    public enum Event: Hashable, Sendable {
        /// The device's directory was found. The first event, once.
        case start
        /// The store's reply to the last `.store` action.
        case reply(StoreReply)
        /// The watch on the frontend's state fired.
        case frontendChanged
        /// Something in the own directory changed, or the directory is gone.
        case ownChanged(OwnChange)
        /// `.realise` was carried out; these nodes of the frontend's directory tell the guest's toolstack where (`tty`).
        case realised([DeviceDetail])
        /// `.connect` was carried out.
        case connected
        /// `.disconnect` was carried out.
        case disconnected
        /// `.realise` or `.connect` could not be carried out.
        case failed(DeviceDiagnostic)
        /// The backend is to stop in order.
        case close
        /// The timer ran out.
        case timeout
    }

    /// What the machine asks of the world.
    public enum Action: Hashable, Sendable {
        /// Send a request; its reply is an event. Never more than one at a time.
        case store(StoreRequest, in: StoreTransactionID)
        /// Open what the device leads to. The values are those of `backendNodes`, nil where there was none.
        case realise([StoreValue?])
        /// Bind the port and map the grant. The values are those of `frontendNodes`, nil where there was none.
        case connect([StoreValue?])
        /// Stop the transfer, unbind, unmap.
        case disconnect
        /// Close what `.realise` opened.
        case dispose
        /// Send `.timeout` after this time, unless stopped or started anew.
        case startTimer(Duration)
        /// Forget the timer.
        case stopTimer
        /// Tell the owner.
        case report(DeviceDiagnostic)
        /// The machine is done.
        case finished
    }

    /// How far the backend is; the raw values count the cases.
    public enum State: UInt8, Hashable, Sendable, CaseIterable {
        /// Not begun.
        case idle
        /// Reads the own directory.
        case reading
        /// Something in the own directory is wrong or missing, or says that the device is unplugged; waits for a change.
        case refused
        /// The world opens what the device leads to.
        case realising
        /// Writes into the frontend's directory what was opened.
        case publishing
        /// Writes state 2.
        case announcing
        /// Registers the watch on the frontend's state.
        case subscribing
        /// At 2: waits for the frontend to be at 3 or 4.
        case waiting
        /// Reads what the frontend published.
        case fetching
        /// The world binds and maps.
        case connecting
        /// Writes state 4.
        case confirming
        /// Bytes may flow.
        case connected
        /// Reads again what the frontend published, while bytes flow.
        case rechecking
        /// Writes state 5.
        case closing
        /// At 5: waits for the frontend to be at 6 or gone.
        case awaitingClosed
        /// The world unbinds and unmaps.
        case disconnecting
        /// Writes state 6.
        case confirmingClosed
        /// At 6: a frontend that comes back at 1 is served again.
        case closed
        /// Writes state 2 again.
        case returning
        /// Removes the watch.
        case retracting
        /// Done.
        case finished
    }

    /// Where the device stands in the store, by where its directory was found.
    public let paths: DevicePaths
    /// The two nodes that are looked at all the time: `state` on both sides.
    package let ownState: StorePath
    let frontendState: StorePath
    /// Names of the own nodes whose values `.realise` carries.
    public let backendNodes: [String]
    /// Names of the frontend's nodes whose values `.connect` carries.
    public let frontendNodes: [String]
    /// The token of its watch; unique among the watches of the connection.
    public let token: String
    /// How far it is.
    public package(set) var state = State.idle

    /// How long the frontend may take to follow when the backend closes.
    public static let closingPatience = Duration.seconds(5)

    package var script: StoreScript?
    /// What is in flight looks at this; nil if it belongs to the state.
    package var looking: Look?
    var mustLookAtFrontend = false
    var mustLookAtOwn = false
    /// Not at the own state alone.
    var mustLookAtOnline = false
    /// The frontend's state was read and not acted upon yet.
    var hasNews = false
    var wantsToClose = false
    var isRealised = false
    var isMapped = false
    var isWatching = false
    /// The own directory is gone, or the store refuses: nothing more is written.
    var isGone = false
    /// The directory is gone or was made anew under our feet: nothing more is written before it was read again.
    var isReborn = false
    var isOnline = true
    var timer = HandshakeTimer.stopped
    /// What the frontend had published when it was attached.
    var attached: [StoreValue?] = []
    /// The frontend published something else since: attach again once it is detached.
    var mustReattach = false
    var observed: XenbusState?
    var peerReports = ReportBudget()
    /// The frontend was seen closed, gone or begun anew since it was attached last: another life of it may be served.
    var hasFrontendLeft = false
    /// The own state as seen last, which others may have written.
    var found: XenbusState?
    /// The state written last.
    var announced = XenbusState.unknown

    package enum Look: Hashable {
        case own
        case frontend
    }

    /// Makes the machine for the device at `paths`.
    public init(paths: DevicePaths, backendNodes: [String], frontendNodes: [String], token: String) {
        self.paths = paths
        ownState = paths.backend.appending("state")
        frontendState = paths.frontend.appending("state")
        self.backendNodes = backendNodes
        self.frontendNodes = frontendNodes
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
        case .frontendChanged:
            mustLookAtFrontend = true
            react(into: &actions)
        case .ownChanged(let change):
            // While a frontend is there, the own state is mostly the machine's own doing: who unplugs writes `online` as well (B24), and
            // a frontend that sees 5 follows whoever wrote it.
            guard change != .state || (state != .connected && state != .awaitingClosed) else { return }
            mustLookAtOwn = true
            if change != .state { mustLookAtOnline = true }
            react(into: &actions)
        case .realised(let details):
            guard state == .realising else { return }
            isRealised = true
            publish(details, into: &actions)
        case .connected:
            guard state == .connecting else { return }
            isMapped = true
            say(.connected, entering: .confirming, into: &actions)
        case .disconnected:
            guard state == .disconnecting else { return }
            isMapped = false
            finishDisconnecting(into: &actions)
        case .failed(let diagnostic):
            handleFailure(diagnostic, into: &actions)
        case .close:
            wantsToClose = true
            react(into: &actions)
        case .timeout:
            guard timer == .running else { return }
            timer = .expired
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
