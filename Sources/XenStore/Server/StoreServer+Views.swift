// SPDX-License-Identifier: MIT

import XenInterface

/// What a caller may do with a node.
struct Rights: OptionSet {
    let rawValue: UInt8

    static let read = Rights(rawValue: 1)
    static let write = Rights(rawValue: 2)
    /// Change the permission list.
    static let own = Rights(rawValue: 8)

    static let all: Rights = [.read, .write, .own]

    init(rawValue: UInt8) {
        self.rawValue = rawValue
    }

    init(_ access: StoreAccess) {
        self = []
        if access.canRead { insert(.read) }
        if access.canWrite { insert(.write) }
    }
}

// Nodes as a caller sees them: the store's own, or a transaction's.
extension StoreServer {
    /// Looks at a place, as every reading of a node does, and says whether there is a node.
    ///
    /// In a transaction the first look fixes what the transaction sees. Fails when it has touched too many nodes.
    mutating func look(at place: Place, _ caller: Caller) throws(StoreErrorCode) -> Bool {
        guard let transaction = caller.transaction else { return tree.entries[Int(place)].exists }
        if let index = transactions[transaction].index(of: place) {
            return transactions[transaction].nodes[index].exists
        }
        let touched = transactions[transaction].nodes.count
        guard caller.isPrivileged || touched < quotas(of: caller.domain).nodesPerTransaction else {
            transactions[transaction].hasFailed = true
            tree.dropIfUnused(place)
            throw .noSpace
        }
        let node = firstLook(at: place)
        transactions[transaction].append(node)
        recharge(transaction: transaction, touched)
        return tree.entries[Int(place)].exists
    }

    private mutating func firstLook(at place: Place) -> TransactionNode {
        let entry = Int(place)
        tree.pin(place)
        guard tree.entries[entry].exists else {
            return TransactionNode(
                place: place,
                readGeneration: .max,
                readPermissions: -1,
                readValue: StoreValue(),
                exists: false,
                value: StoreValue(),
                permissions: -1,
                generation: .max,
                children: ChildView(isDetached: true),
                listingSize: 0
            )
        }
        tree.entries[entry].snapshots += 1
        // One count for what the transaction sees, one for what was there at first.
        let list = tree.entries[entry].permissions
        permissions.retain(list)
        permissions.retain(list)
        // One by one: together they would be taken from a copy of the entry.
        let value = tree.entries[entry].value
        let generation = tree.entries[entry].generation
        return TransactionNode(
            place: place,
            readGeneration: generation,
            readPermissions: list,
            readValue: value,
            exists: true,
            value: value,
            permissions: list,
            generation: generation,
            children: ChildView(),
            listingSize: tree.entries[entry].listingSize
        )
    }

    /// Where a transaction keeps its view of a place that was looked at; nil outside of a transaction.
    private mutating func view(_ place: Place, _ caller: Caller) -> (transaction: Int, node: Int)? {
        guard let transaction = caller.transaction, let node = transactions[transaction].index(of: place) else {
            return nil
        }
        return (transaction, node)
    }

    mutating func value(_ place: Place, _ caller: Caller) -> StoreValue {
        guard let view = view(place, caller) else { return tree.entries[Int(place)].value }
        return transactions[view.transaction].nodes[view.node].value
    }

    mutating func permissionList(_ place: Place, _ caller: Caller) -> Int32 {
        guard let view = view(place, caller) else { return tree.entries[Int(place)].permissions }
        return transactions[view.transaction].nodes[view.node].permissions
    }

    mutating func stamp(_ place: Place, _ caller: Caller) -> UInt64 {
        guard let view = view(place, caller) else { return tree.entries[Int(place)].generation }
        return transactions[view.transaction].nodes[view.node].generation
    }

    /// The permission list and the stamp at once.
    private mutating func guarding(_ place: Place, _ caller: Caller) -> (list: Int32, stamp: UInt64) {
        guard let view = view(place, caller) else {
            return (tree.entries[Int(place)].permissions, tree.entries[Int(place)].generation)
        }
        let list = transactions[view.transaction].nodes[view.node].permissions
        return (list, transactions[view.transaction].nodes[view.node].generation)
    }

    mutating func listingSize(_ place: Place, _ caller: Caller) -> Int {
        guard let view = view(place, caller) else { return Int(tree.entries[Int(place)].listingSize) }
        return Int(transactions[view.transaction].nodes[view.node].listingSize)
    }

    mutating func children(_ place: Place, _ caller: Caller) -> [Place] {
        guard let view = view(place, caller) else { return tree.children(of: place) }
        let children = transactions[view.transaction].nodes[view.node].children
        let base = children.isDetached ? children.captured : tree.children(of: place)
        if children.removed.isEmpty { return base + children.added }
        return base.filter { !children.removed.contains($0) } + children.added
    }

    // MARK: Changes

    /// Writes a node, in the transaction or for good, with a stamp of its own; entries for vanished domains lapse (D15).
    mutating func store(_ place: Place, value: StoreValue, permissions list: Int32, _ caller: Caller) {
        generation += 1
        guard let transaction = caller.transaction, let index = transactions[transaction].index(of: place) else {
            put(place, value: value, permissions: list, generation: generation)
            return
        }
        permissions.retain(list)
        let old = transactions[transaction].nodes[index].permissions
        if old >= 0 { permissions.release(old) }
        modify(transaction, index) { [generation] node in
            node.exists = true
            node.isModified = true
            node.value = value
            node.permissions = list
            node.generation = generation
        }
        recharge(transaction: transaction, index)
    }

    /// Writes a node anew because its list of children changed.
    mutating func restamp(_ place: Place, _ caller: Caller) {
        let list = lapsedList(of: place, caller)
        store(place, value: value(place, caller), permissions: list, caller)
        permissions.release(list)
    }

    /// Takes a node away, in the transaction or for good.
    mutating func delete(_ place: Place, _ caller: Caller) {
        generation += 1
        guard let transaction = caller.transaction, let index = transactions[transaction].index(of: place) else {
            erase(place)
            return
        }
        if !transactions[transaction].nodes[index].children.isDetached { tree.entries[Int(place)].snapshots -= 1 }
        releaseView(transaction, index)
        modify(transaction, index) { node in
            node.exists = false
            node.isModified = true
            node.value = StoreValue()
            node.permissions = -1
            node.generation = .max
            node.children = ChildView(isDetached: true, isRebuilt: true)
            node.listingSize = 0
        }
        recharge(transaction: transaction, index)
    }

    /// Adds a child to its parent's list, which the parent's writing is to follow.
    mutating func addChild(_ child: Place, _ caller: Caller) {
        let parent = tree.keys[Int(child)].parent
        guard let transaction = caller.transaction, let index = transactions[transaction].index(of: parent) else {
            captureChildren(of: parent)
            tree.list(child)
            return
        }
        tree.pin(child)
        let size = tree.nameSize(child)
        modify(transaction, index) { node in
            node.children.add(child)
            node.listingSize += size
        }
    }

    /// Removes a child from its parent's list; false if it is not in it.
    mutating func removeChild(_ child: Place, _ caller: Caller) -> Bool {
        let parent = tree.keys[Int(child)].parent
        guard let transaction = caller.transaction, let index = transactions[transaction].index(of: parent) else {
            guard tree.entries[Int(child)].isListed else { return false }
            captureChildren(of: parent)
            tree.unlist(child)
            return true
        }
        let isListed = tree.entries[Int(child)].isListed
        guard transactions[transaction].nodes[index].children.contains(child, isInOwn: isListed) else { return false }
        let size = tree.nameSize(child)
        var wasAdded = false
        modify(transaction, index) { node in
            wasAdded = node.children.remove(child)
            node.listingSize -= size
        }
        if wasAdded { tree.unpin(child) }
        return true
    }

    /// Gives every transaction that relies on a list of children a copy of it, before the list changes.
    mutating func captureChildren(of place: Place) {
        guard tree.entries[Int(place)].snapshots > 0 else { return }
        tree.entries[Int(place)].snapshots = 0
        let children = tree.children(of: place)
        for transaction in transactions.indices where transactions[transaction].isOpen {
            guard let index = transactions[transaction].index(of: place),
                !transactions[transaction].nodes[index].children.isDetached
            else { continue }
            for child in children { tree.pin(child) }
            modify(transaction, index) { $0.children.capture(children) }
        }
    }

    /// Gives back what a transaction's view of a node holds.
    mutating func releaseView(_ transaction: Int, _ index: Int) {
        let list = transactions[transaction].nodes[index].permissions
        if list >= 0 { permissions.release(list) }
        guard transactions[transaction].nodes[index].children.isKept else { return }
        let children = transactions[transaction].nodes[index].children
        for child in children.captured { tree.unpin(child) }
        for child in children.added { tree.unpin(child) }
    }

    private mutating func modify(_ transaction: Int, _ index: Int, _ change: (inout TransactionNode) -> Void) {
        change(&transactions[transaction].nodes[index])
    }

    // MARK: Rights

    /// What the caller may do with a node of that permission list and stamp (D10).
    mutating func rights(of caller: Caller, list number: Int32, stamp: UInt64) -> Rights {
        if caller.isPrivileged { return .all }
        let list = permissions[number]
        if list[0].domain == caller.domain || list[0].domain == caller.target { return .all }
        for entry in list.dropFirst() {
            let isForAll = rules.knowsAnyDomain && entry.domain == StoreServer.anyDomain
            guard isForAll || entry.domain == caller.domain || entry.domain == caller.target else { continue }
            if !entry.isIgnored, isForAll || isCurrent(entry.domain, at: stamp) { return Rights(entry.access) }
        }
        return Rights(list[0].access)
    }

    mutating func rights(of caller: Caller, at place: Place) -> Rights {
        if caller.isPrivileged { return .all }
        let (list, stamp) = guarding(place, caller)
        return rights(of: caller, list: list, stamp: stamp)
    }

    /// Whether a domain is known to the store and was so when a node of that stamp was written.
    private func isCurrent(_ domain: Int32, at stamp: UInt64) -> Bool {
        guard let since = tally(of: domain).since else { return false }
        return since <= stamp
    }

    /// A node's permission list, with the entries marked that no longer count; the caller owns one count of it.
    mutating func lapsedList(of place: Place, _ caller: Caller) -> Int32 {
        let (list, stamp) = guarding(place, caller)
        return lapsed(list, at: stamp)
    }

    private mutating func lapsed(_ number: Int32, at stamp: UInt64) -> Int32 {
        guard permissions.count(number) > 1 else {
            permissions.retain(number)
            return number
        }
        var list = permissions[number]
        var hasChanged = false
        for index in list.indices.dropFirst() where !list[index].isIgnored {
            let isForAll = rules.knowsAnyDomain && list[index].domain == StoreServer.anyDomain
            guard !isForAll, !isCurrent(list[index].domain, at: stamp) else { continue }
            list[index].isIgnored = true
            hasChanged = true
        }
        guard hasChanged else {
            permissions.retain(number)
            return number
        }
        return permissions.intern(list)
    }
}
