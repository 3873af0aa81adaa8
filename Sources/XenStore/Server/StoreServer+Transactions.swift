// SPDX-License-Identifier: MIT

import XenInterface

// Transactions (D.6): what a transaction has touched is compared with the store when it is committed.
extension StoreServer {
    /// Opens a transaction (D36, D40).
    mutating func beginTransaction(_ caller: Caller) throws(StoreErrorCode) -> StoreTransactionID {
        guard caller.transaction == nil else { throw .busy }
        let limit = quotas(of: caller.domain).transactions + (rules.transactionQuotaIsExact ? 0 : 1)
        guard caller.isPrivileged || openTransactions(caller) < limit else { throw .noSpace }
        generation += 1
        let id = connections[caller.slot]?.takeTransactionNumber() ?? 0
        let index = transactions.firstIndex { !$0.isOpen } ?? transactions.count
        if index == transactions.count { transactions.append(TransactionRecord()) }
        transactions[index].open(slot: caller.slot, domain: caller.domain, generation: generation)
        connections[caller.slot]?.transactions.append(.init(id: id, index: index))
        return StoreTransactionID(rawValue: id)
    }

    /// How many transactions the caller's connection has open.
    @inline(__always)
    private func openTransactions(_ caller: Caller) -> Int {
        connections[caller.slot]?.transactions.count ?? 0
    }

    /// Ends the caller's transaction. It is over afterwards, whatever is thrown (D38, D39).
    mutating func endTransaction(commit: Bool, _ caller: Caller) throws(StoreErrorCode) {
        guard let index = caller.transaction else { throw .noEntry }
        connections[caller.slot]?.removeTransaction(index)
        close(index)
        defer { drop(index) }
        guard commit else { return }
        guard !transactions[index].hasFailed else { throw .noMemory }
        try checkCounts(index, caller)
        let nodes = transactions[index].nodes.indices
        for node in nodes where hasChanged(index, node) { throw .again }
        if commitsToRefuse > 0 {
            commitsToRefuse -= 1
            throw .again
        }
        for node in nodes where transactions[index].nodes[node].isModified {
            apply(index, node)
            fire(index, node)
        }
        for change in transactions[index].countChanges {
            count(nodes: change.change, of: change.domain)
        }
    }

    private mutating func checkCounts(_ index: Int, _ caller: Caller) throws(StoreErrorCode) {
        for change in transactions[index].countChanges where change.domain != 0 {
            let number = UInt32(bitPattern: change.domain)
            guard exists(number) || tally(of: change.domain).since != nil else { throw .noMemory }
            makeDomain(number)
            let count = max(0, tally(of: change.domain).nodeCount + change.change)
            if transactions[index].hasCreated, !caller.isPrivileged, count >= quotas(of: caller.domain).nodes {
                throw .noSpace
            }
        }
    }

    /// Whether somebody else wrote the node since the transaction first looked (D38).
    private mutating func hasChanged(_ index: Int, _ number: Int) -> Bool {
        let place = Int(transactions[index].nodes[number].place)
        if tree.entries[place].generation == transactions[index].nodes[number].readGeneration { return false }
        let (entry, node) = (tree.entries[place], transactions[index].nodes[number])
        guard rules.mergesCommits, entry.exists, node.readPermissions >= 0 else { return true }
        return entry.value != node.readValue || entry.permissions != node.readPermissions
            || (!node.exists && entry.firstChild != nowhere)
    }

    /// Makes a transaction's view of a node the node.
    private mutating func apply(_ index: Int, _ number: Int) {
        let (place, list) = (transactions[index].nodes[number].place, transactions[index].nodes[number].permissions)
        let exists = transactions[index].nodes[number].exists
        if exists {
            generation += 1
            put(place, value: transactions[index].nodes[number].value, permissions: list, generation: generation)
        } else {
            erase(place)
        }
        guard transactions[index].nodes[number].children.hasChanged else { return }
        let view = transactions[index].nodes[number].children
        captureChildren(of: place)
        let gone = view.isRebuilt ? tree.children(of: place) : view.removed.sorted()
        for child in gone where tree.entries[Int(child)].isListed { tree.unlist(child) }
        for child in view.added where !tree.entries[Int(child)].isListed { tree.list(child) }
        if exists { recharge(place, from: permissions.owner(list)) }
    }

    /// Tells of what the transaction did to a node.
    private mutating func fire(_ index: Int, _ number: Int) {
        let firing = transactions[index].nodes[number].firing
        guard firing != .none else { return }
        let list = transactions[index].nodes[number].readPermissions
        let old = list >= 0 ? (list, transactions[index].nodes[number].readGeneration) : nil
        let (place, path) = (transactions[index].nodes[number].place, transactions[index].nodes[number].path)
        fireForCommit(place, path, exact: firing == .exact, oldList: old)
    }

    /// The transaction is open no more: it relies on no list of children, and its copies take no memory.
    private mutating func close(_ index: Int) {
        charge(-transactions[index].charged, transactions[index].domain)
        transactions[index].close()
        for node in transactions[index].nodes.indices where !transactions[index].nodes[node].children.isDetached {
            tree.entries[Int(transactions[index].nodes[node].place)].snapshots -= 1
        }
    }

    /// Gives back all else that a transaction holds; it must be closed.
    private mutating func drop(_ index: Int) {
        for node in transactions[index].nodes.indices {
            releaseView(index, node)
            let list = transactions[index].nodes[node].readPermissions
            if list >= 0 { permissions.release(list) }
            tree.unpin(transactions[index].nodes[node].place)
        }
        transactions[index].clear()
    }

    /// Aborts every transaction of a connection.
    mutating func removeTransactions(of slot: Int) {
        for open in connections[slot]?.transactions ?? [] {
            close(open.index)
            drop(open.index)
        }
        connections[slot]?.transactions = []
    }
}
