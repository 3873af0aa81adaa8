// SPDX-License-Identifier: MIT

package import XenInterface

/// The replies to what a machine asked for, in the order of the requests. A single one, as most are, takes no memory of its own.
package enum StoreReplies: RandomAccessCollection {
    case one(StoreReply)
    case several([StoreReply])

    package var startIndex: Int { 0 }

    package var endIndex: Int {
        switch self {
        case .one: 1
        case .several(let replies): replies.count
        }
    }

    package subscript(index: Int) -> StoreReply {
        switch self {
        case .one(let reply):
            precondition(index == 0, "there is one reply")
            return reply
        case .several(let replies):
            return replies[index]
        }
    }

    /// The values that were read; nil where there was no such node.
    package var values: [StoreValue?] { map { $0.nodeValue } }
}
