// SPDX-License-Identifier: MIT

public import XenInterface

extension StoreWatchEvent {
    /// Reads a watch event off the wire: `path|token|`, and what may follow; nil for any other message (D4).
    ///
    /// A relative path that stands for the caller's own directory itself is empty on the wire, and has no event here.
    public init?(_ message: StoreMessage) {
        guard message.isEvent else { return nil }
        let strings = PayloadText.strings(in: message.payload)
        guard strings.count >= 2, let path = StorePath(String(decoding: message.payload[strings[0]], as: UTF8.self))
        else { return nil }
        self.init(path: path, token: String(decoding: message.payload[strings[1]], as: UTF8.self))
    }
}
