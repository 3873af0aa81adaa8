// SPDX-License-Identifier: MIT

public import XenInterface

/// One request of a script that runs inside a transaction, with the errors that it takes for "nothing to do".
public struct StoreStep: Hashable, Sendable {
    /// What is asked.
    public var request: StoreRequest
    /// Failures that do not end the script: a removal, say, tolerates `noEntry`.
    public var tolerated: StoreErrorCodes
    /// A state that a read must not find: the node counts as missing then, since it was made anew.
    public var refused: XenbusState?

    /// Makes a step.
    public init(
        _ request: StoreRequest,
        tolerating tolerated: StoreErrorCodes = [],
        refusing refused: XenbusState? = nil
    ) {
        self.request = request
        self.tolerated = tolerated
        self.refused = refused
    }

    /// Why a script ends at a reply; nil if it goes on.
    static func failure(
        _ reply: StoreReply,
        tolerating tolerated: StoreErrorCodes,
        refusing refused: XenbusState?
    ) -> StoreErrorCode? {
        switch reply {
        case .failure(let code): tolerated.contains(code) ? nil : code
        case .value(let value): refused != nil && XenbusState(storeValue: value) == refused ? .noEntry : nil
        case .done, .children, .part, .permissions, .transaction, .flag, .path: nil
        }
    }
}
