// SPDX-License-Identifier: MIT

import XenInterface
import XenStore

/// A program's connection to the store of a `ChannelWorld`: its events, merged as xenstored merges them (D31), and its open transaction.
///
/// The number of a transaction counts up without end; a program that has one at a time is told 1, so that states can be compared.
struct StoreClient: Hashable {
    let id: StoreConnectionID
    var inbox: [StoreWatchEvent] = []
    var transaction = StoreTransactionID.none

    static let shown = StoreTransactionID(rawValue: 1)
}

/// A request on its way, and the transaction it belongs to.
struct PendingRequest: Hashable {
    var request: StoreRequest
    var transaction: StoreTransactionID
}
