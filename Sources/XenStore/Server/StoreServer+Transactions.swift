// SPDX-License-Identifier: MIT

import XenInterface

// Transactions (D.6): what a transaction has touched is compared with the store when it is committed.
extension StoreServer {
    /// Opens a transaction (D36, D40).
    mutating func beginTransaction(_ caller: Caller) throws(StoreErrorCode) -> StoreTransactionID {
        guard caller.transaction == nil else { throw .busy }
        guard let open = connections[caller.slot]?.transactions.count else { throw .noEntry }
        let limit = quotas(of: caller.domain).transactions + (rules.transactionQuotaIsExact ? 0 : 1)
        guard caller.isPrivileged || open < limit else { throw .noSpace }
        generation += 1
        let id = connections[caller.slot]?.takeTransactionNumber() ?? 0
        let index = transactions.firstIndex { !$0.isOpen } ?? transactions.count
        let record = TransactionRecord(slot: caller.slot, domain: caller.domain, generation: generation)
        if index == transactions.count { transactions.append(record) } else { transactions[index] = record }
        connections[caller.slot]?.transactions.append(.init(id: id, index: index))
        return StoreTransactionID(rawValue: id)
    }

    /// Ends the caller's transaction. It is over afterwards, whatever is thrown (D38, D39).
    mutating func endTransaction(commit: Bool, _ caller: Caller) throws(StoreErrorCode) {
        guard let index = caller.transaction else { throw .noEntry }
        connections[caller.slot]?.transactions.removeAll { $0.index == index }
        var record = transactions[index].take()
        releaseSnapshots(of: record)
        defer { drop(&record) }
        guard commit else { return }
        guard !record.hasFailed else { throw .noMemory }
        try checkCounts(record, caller)
        for node in record.nodes where hasChanged(node) { throw .again }
        if commitsToRefuse > 0 {
            commitsToRefuse -= 1
            throw .again
        }
        for node in record.nodes where node.isModified {
            apply(node)
            if node.firing != .none {
                let old = node.readPermissions >= 0 ? (node.readPermissions, node.readGeneration) : nil
                fireForCommit(node.place, exact: node.firing == .exact, oldList: old)
            }
        }
        for change in record.countChanges {
            domains[UInt32(bitPattern: change.domain)]?.nodeCount += change.change
        }
    }

    private mutating func checkCounts(_ record: TransactionRecord, _ caller: Caller) throws(StoreErrorCode) {
        for change in record.countChanges where change.domain != 0 {
            let number = UInt32(bitPattern: change.domain)
            guard exists(number) || domains[number] != nil else { throw .noMemory }
            makeDomain(number)
            let count = max(0, (domains[number]?.nodeCount ?? 0) + change.change)
            if record.hasCreated, !caller.isPrivileged, count >= quotas(of: caller.domain).nodes { throw .noSpace }
        }
    }

    /// Whether somebody else wrote the node since the transaction first looked (D38).
    private func hasChanged(_ node: TransactionNode) -> Bool {
        let entry = tree.entries[Int(node.place)]
        if entry.generation == node.readGeneration { return false }
        guard rules.mergesCommits, entry.exists, node.readPermissions >= 0 else { return true }
        return entry.value != node.readValue || entry.permissions != node.readPermissions
            || (!node.exists && entry.firstChild != nowhere)
    }

    /// Makes a transaction's view of a node the node.
    private mutating func apply(_ node: TransactionNode) {
        if node.exists {
            generation += 1
            put(node.place, value: node.value, permissions: node.permissions, generation: generation)
        } else {
            erase(node.place)
        }
        let view = node.children
        guard view.hasChanged else { return }
        captureChildren(of: node.place)
        let gone = view.isRebuilt ? tree.children(of: node.place) : view.removed.sorted()
        for child in gone where tree.entries[Int(child)].isListed { tree.unlist(child) }
        for child in view.added where !tree.entries[Int(child)].isListed { tree.list(child) }
        if node.exists { recharge(node.place, from: permissions.owner(node.permissions)) }
    }

    /// The transaction relies on no list of children any more, and its copies take no memory.
    private mutating func releaseSnapshots(of record: TransactionRecord) {
        charge(-record.charged, record.domain)
        for index in record.nodes.indices where !record.nodes[index].children.isDetached {
            tree.entries[Int(record.nodes[index].place)].snapshots -= 1
        }
    }

    /// Gives back all else that a transaction holds.
    private mutating func drop(_ record: inout TransactionRecord) {
        for node in record.nodes {
            releaseView(of: node)
            if node.readPermissions >= 0 { permissions.release(node.readPermissions) }
            tree.unpin(node.place)
        }
        record.nodes = []
    }

    /// Aborts every transaction of a connection.
    mutating func removeTransactions(of slot: Int) {
        for open in connections[slot]?.transactions ?? [] {
            var record = transactions[open.index].take()
            releaseSnapshots(of: record)
            drop(&record)
        }
        connections[slot]?.transactions = []
    }
}
