// SPDX-License-Identifier: MIT

/// What of a device's own directory changed, as far as its machine has to tell apart.
public enum OwnChange: Hashable, Sendable {
    /// The node `state`, which is mostly the machine's own doing.
    case state
    /// Another node, or the directory itself.
    case other
}
