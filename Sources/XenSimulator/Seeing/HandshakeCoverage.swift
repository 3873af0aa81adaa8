// SPDX-License-Identifier: MIT

import XenBus
import XenChannels

/// Which events met the two handshake machines in which of their states: how much of their tables runs have seen.
///
/// The tables are those of the handshakes' documentation; what says nothing in a state is not counted, nor are `start` and `reply`, which
/// no state can miss.
public struct HandshakeCoverage: Hashable, Sendable {
    /// A cell of one of the two tables.
    public struct Pair: Hashable, Sendable, CustomStringConvertible {
        /// `frontend` or `backend`.
        public let machine: String
        /// The state's name.
        public let state: String
        /// The event's name, as the handshake calls it.
        public let event: String

        /// `frontend waiting backendChanged`.
        public var description: String { "\(machine) \(state) \(event)" }
    }

    private var frontend = [UInt8](repeating: 0, count: FrontendHandshake.State.allCases.count)
    private var backend = [UInt8](repeating: 0, count: BackendHandshake.State.allCases.count)

    /// Begins with nothing seen.
    public init() {}

    /// Adds what another run has seen.
    public mutating func formUnion(_ other: HandshakeCoverage) {
        for index in frontend.indices { frontend[index] |= other.frontend[index] }
        for index in backend.indices { backend[index] |= other.backend[index] }
    }

    /// How many pairs there are to be seen.
    public static var pairCount: Int { bits(frontendTable) + bits(backendTable) }

    /// How many of them were seen.
    public var reachedCount: Int { HandshakeCoverage.bits(frontend) + HandshakeCoverage.bits(backend) }

    /// All pairs, in the order of the tables.
    public static var pairs: [Pair] { HandshakeCoverage().unreached }

    /// The pairs that were not seen, in the order of the tables.
    public var unreached: [Pair] {
        HandshakeCoverage.missing(
            "frontend",
            zip(FrontendHandshake.State.allCases.map { "\($0)" }, zip(HandshakeCoverage.frontendTable, frontend)),
            FrontendColumn.allCases.map { "\($0)" }
        )
            + HandshakeCoverage.missing(
                "backend",
                zip(BackendHandshake.State.allCases.map { "\($0)" }, zip(HandshakeCoverage.backendTable, backend)),
                BackendColumn.allCases.map { "\($0)" }
            )
    }

    private static func missing(
        _ machine: String,
        _ rows: some Sequence<(String, (UInt8, UInt8))>,
        _ columns: [String]
    ) -> [Pair] {
        rows.flatMap { state, cells in
            columns.enumerated().filter { (cells.0 & ~cells.1) >> $0.offset & 1 == 1 }
                .map { Pair(machine: machine, state: state, event: $0.element) }
        }
    }

    private static func bits(_ rows: [UInt8]) -> Int { rows.reduce(0) { $0 + $1.nonzeroBitCount } }

    // MARK: Noting

    mutating func note(_ event: ChannelFrontend.Event, in state: FrontendHandshake.State) {
        guard let column = FrontendColumn(event) else { return }
        let row = Int(state.rawValue)
        frontend[row] |= column.bit & HandshakeCoverage.frontendTable[row]
    }

    mutating func note(_ event: ChannelBackend.Event, in state: BackendHandshake.State) {
        guard let column = BackendColumn(event) else { return }
        let row = Int(state.rawValue)
        backend[row] |= column.bit & HandshakeCoverage.backendTable[row]
    }

    // MARK: The tables

    private static let frontendTable = FrontendHandshake.State.allCases.map { state in
        FrontendColumn.allCases.filter { $0.concerns(state) }.reduce(0) { $0 | $1.bit }
    }

    private static let backendTable = BackendHandshake.State.allCases.map { state in
        BackendColumn.allCases.filter { $0.concerns(state) }.reduce(0) { $0 | $1.bit }
    }
}

/// The columns of the frontend's table.
private enum FrontendColumn: UInt8, CaseIterable {
    case backendChanged, ownChanged, prepared, failed, close, removed, released, timeout

    var bit: UInt8 { 1 << rawValue }

    init?(_ event: ChannelFrontend.Event) {
        switch event {
        case .start, .reply: return nil
        case .backendChanged: self = .backendChanged
        case .ownChanged: self = .ownChanged
        case .prepared: self = .prepared
        case .failed: self = .failed
        case .close: self = .close
        case .removed: self = .removed
        case .released: self = .released
        case .timeout: self = .timeout
        }
    }

    func concerns(_ state: FrontendHandshake.State) -> Bool {
        guard state != .idle, state != .finished else { return false }
        return switch self {
        case .backendChanged, .ownChanged, .close, .removed: true
        case .prepared, .failed: state == .preparing
        case .released: state == .releasing
        case .timeout:
            [.awaitingClosing, .awaitingClosed, .awaitingReturn, .holding].contains(state)
        }
    }
}

/// The columns of the backend's table.
private enum BackendColumn: UInt8, CaseIterable {
    case frontendChanged, ownChanged, realised, connected, disconnected, failed, close, timeout

    var bit: UInt8 { 1 << rawValue }

    init?(_ event: ChannelBackend.Event) {
        switch event {
        case .start, .reply: return nil
        case .frontendChanged: self = .frontendChanged
        case .ownChanged: self = .ownChanged
        case .opened: self = .realised
        case .attached: self = .connected
        case .detached: self = .disconnected
        case .failed: self = .failed
        case .close: self = .close
        case .timeout: self = .timeout
        }
    }

    func concerns(_ state: BackendHandshake.State) -> Bool {
        guard state != .idle, state != .finished else { return false }
        return switch self {
        case .frontendChanged, .ownChanged, .close: true
        case .realised: state == .realising
        case .connected: state == .connecting
        case .disconnected: state == .disconnecting
        case .failed: state == .realising || state == .connecting
        case .timeout: state == .awaitingClosed
        }
    }
}
