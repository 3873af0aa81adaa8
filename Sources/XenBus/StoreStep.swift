// SPDX-License-Identifier: MIT

public import XenInterface

/// One request of a script that runs inside a transaction, with the errors that it takes for "nothing to do".
public struct StoreStep: Hashable, Sendable {
    /// What is asked.
    public var request: StoreRequest
    /// Failures that do not end the script: a removal, say, tolerates `noEntry`.
    public var tolerated: [StoreErrorCode]

    /// Makes a step.
    public init(_ request: StoreRequest, tolerating tolerated: [StoreErrorCode] = []) {
        self.request = request
        self.tolerated = tolerated
    }
}
