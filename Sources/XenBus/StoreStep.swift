// SPDX-License-Identifier: MIT

public import XenInterface

/// One request of a script that runs inside a transaction, with the errors that it takes for "nothing to do".
public struct StoreStep: Hashable, Sendable {
    /// What is asked.
    public var request: StoreRequest
    /// Failures that do not end the script: a removal, say, tolerates `noEntry`.
    public var tolerated: StoreErrorCodes

    /// Makes a step.
    public init(_ request: StoreRequest, tolerating tolerated: StoreErrorCodes = []) {
        self.request = request
        self.tolerated = tolerated
    }
}
