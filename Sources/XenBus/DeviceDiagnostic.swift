// SPDX-License-Identifier: MIT

public import XenInterface

/// Why a device does not do what was wanted: the node, what was seen there, and what was expected.
///
/// What a peer does wrong ends here, as a value; it neither throws nor stops anything else.
public struct DeviceDiagnostic: Hashable, Sendable {
    /// What is wrong.
    public enum Problem: Hashable, Sendable {
        /// The node holds something else than expected.
        case unexpected(StoreValue, wanted: String)
        /// The node is not there.
        case missing
        /// The store refused.
        case refused(StoreErrorCode)
        /// The store refused to remove the node, which names a page or a port that others could reach by it: they are kept.
        case notRetracted(StoreErrorCode)
        /// A service beneath the device failed: a grant, an event channel, a socket.
        case service(String)
        /// The peer did not react in time.
        case noAnswer(to: XenbusState)
    }

    /// The node, or the directory of the device.
    public let node: StorePath
    /// What is wrong with it.
    public let problem: Problem

    /// Names a node and what is wrong with it.
    public init(_ node: StorePath, _ problem: Problem) {
        self.node = node
        self.problem = problem
    }
}

extension DeviceDiagnostic: CustomStringConvertible {
    /// One line for a person.
    public var description: String {
        switch problem {
        case .unexpected(let value, let wanted): "\(node): \(value), expected \(wanted)"
        case .missing: "\(node): no such node"
        case .refused(let code): "\(node): the store answered \(code)"
        case .notRetracted(let code): "\(node): the store answered \(code) to its removal; what it names is kept"
        case .service(let text): "\(node): \(text)"
        case .noAnswer(let state): "\(node): no answer to state \(state.rawValue) (\(state)) in time"
        }
    }
}
