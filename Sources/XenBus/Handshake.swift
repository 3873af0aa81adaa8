// SPDX-License-Identifier: MIT

import XenInterface

/// What the machines of both sides have in common besides their scripts: the peer's state, and one timer.
protocol Handshake: StoreScriptRunner where Action: HandshakeAction {
    var timer: HandshakeTimer { get set }
    /// The peer's state as seen last; nil if there was no such node.
    var observed: XenbusState? { get set }
    var peerReports: ReportBudget { get set }
}

/// The actions that both sides ask for in the same words.
protocol HandshakeAction: StoreScriptAction {
    static func startTimer(_ duration: Duration) -> Self
    static var stopTimer: Self { get }
    static func report(_ diagnostic: DeviceDiagnostic) -> Self
}

extension FrontendHandshake: Handshake {}
extension FrontendHandshake.Action: HandshakeAction {}
extension BackendHandshake: Handshake {}
extension BackendHandshake.Action: HandshakeAction {}

/// The one timer of a handshake. An expiry waits here while a request is in flight.
enum HandshakeTimer: Hashable {
    case stopped
    case running
    case expired
}

/// How many of a peer's faults are reported: the first eight, then each time their number has doubled. A peer cannot fill a log, and
/// one that goes on is not forgotten.
package struct ReportBudget: Hashable, Sendable {
    private var count: UInt64 = 0

    package init() {}

    /// Counts a fault; returns whether it is to be reported.
    package mutating func admits() -> Bool {
        count += 1
        return count <= 8 || count.nonzeroBitCount == 1
    }
}

extension Handshake {
    // MARK: The timer

    mutating func startTimer(_ duration: Duration, into actions: inout ActionList<Action>) {
        timer = .running
        actions.append(.startTimer(duration))
    }

    mutating func stopTimer(into actions: inout ActionList<Action>) {
        if timer != .stopped { actions.append(.stopTimer) }
        timer = .stopped
    }

    /// Whether the time is up in which `node` was to reach a state; says so once.
    mutating func hasExpired(
        _ node: StorePath,
        waitingFor awaited: XenbusState,
        into actions: inout ActionList<Action>
    ) -> Bool {
        guard timer == .expired else { return false }
        timer = .stopped
        reportPeer(DeviceDiagnostic(node, .noAnswer(to: awaited)), into: &actions)
        return true
    }

    // MARK: The peer

    /// Reports what the peer did wrong, unless it has been reported too often.
    mutating func reportPeer(_ diagnostic: DeviceDiagnostic, into actions: inout ActionList<Action>) {
        if peerReports.admits() { actions.append(.report(diagnostic)) }
    }

    /// Notes a peer's node `state`; what is no state is reported and passed over (B35). Returns whether it was one.
    mutating func observe(
        _ value: StoreValue?,
        at node: StorePath,
        into actions: inout ActionList<Action>
    ) -> Bool {
        let seen = value.flatMap(XenbusState.init(storeValue:))
        if let value, seen == nil {
            reportPeer(DeviceDiagnostic(node, .unexpected(value, wanted: "a state from 0 to 8")), into: &actions)
            return false
        }
        observed = seen
        return true
    }
}
