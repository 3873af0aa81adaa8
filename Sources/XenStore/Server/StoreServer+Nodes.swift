// SPDX-License-Identifier: MIT

import XenInterface

// The operations on nodes (D.3, D.4). Paths are absolute and follow the rules of D7; failing is what the client is told.
extension StoreServer {
    // MARK: Reading

    /// The node at a path, if the caller has all of `rights`; otherwise what the caller may know (D11).
    mutating func node(
        _ path: String,
        _ rights: Rights,
        _ caller: Caller
    ) throws(StoreErrorCode) -> Place {
        var error = StoreErrorCode.noEntry
        let place = caller.transaction == nil ? tree.find(path) : tree.intern(path)
        if let place, try look(at: place, caller) {
            if self.rights(of: caller, at: place).isSuperset(of: rights) { return place }
            error = .accessDenied
        }
        // Outside of a transaction the looks at those above leave no trace.
        if caller.isPrivileged, caller.transaction == nil { throw error }
        let above = try nearestNode(above: path, at: place, caller)
        throw self.rights(of: caller, at: above).isDisjoint(with: rights) ? .accessDenied : error
    }

    /// The nearest node above a path, each place on the way looked at.
    private mutating func nearestNode(
        above path: String,
        at place: Place?,
        _ caller: Caller
    ) throws(StoreErrorCode) -> Place {
        var above = place.map { tree.keys[Int($0)].parent } ?? tree.nearestAbove(path)
        while try !look(at: above, caller), above != StoreTree.root {
            above = tree.keys[Int(above)].parent
        }
        return above
    }

    // MARK: Making and writing

    /// Sets a node's value, and makes the node and those above it as needed (D16).
    mutating func write(_ path: String, _ value: StoreValue, _ caller: Caller) throws(StoreErrorCode) {
        if let place = try existing(path, caller) {
            let list = lapsedList(of: place, caller)
            defer { permissions.release(list) }
            let size = nodeSize(permissions.count(list), value.count + listingSize(place, caller))
            try checkSize(size, of: place, owner: permissions.owner(list), caller)
            store(place, value: value, permissions: list, caller)
            fire(place, path, exact: false, oldList: nil, caller)
        } else {
            fire(try create(path, value, caller), path, exact: false, oldList: nil, caller)
        }
    }

    /// Makes a node if there is none (D17).
    mutating func makeDirectory(_ path: String, _ caller: Caller) throws(StoreErrorCode) {
        if try existing(path, caller) == nil {
            fire(try create(path, StoreValue(), caller), path, exact: false, oldList: nil, caller)
        }
    }

    /// The node if it is there and can be written; nil if it can be made.
    private mutating func existing(_ path: String, _ caller: Caller) throws(StoreErrorCode) -> Place? {
        do throws(StoreErrorCode) {
            return try node(path, .write, caller)
        } catch {
            if error == .noEntry { return nil }
            throw error
        }
    }

    /// Makes a node, and those above that are missing (D12, D16).
    private mutating func create(
        _ path: String,
        _ value: StoreValue,
        _ caller: Caller
    ) throws(StoreErrorCode) -> Place {
        let place = tree.intern(path)
        tree.pin(place)
        defer { tree.unpin(place) }
        var missing = [place]
        var above = tree.keys[Int(place)].parent
        while try !look(at: above, caller) {
            missing.append(above)
            above = tree.keys[Int(above)].parent
        }
        let (inherited, list) = inheritance(from: above, caller)
        defer {
            permissions.release(inherited)
            permissions.release(list)
        }
        if let transaction = caller.transaction { transactions[transaction].hasCreated = true }
        try checkQuotas(making: missing, below: above, value: value, list: list, inherited: inherited, caller)
        for (index, place) in missing.enumerated() {
            store(place, value: index == 0 ? value : StoreValue(), permissions: list, caller)
            count(1, ownerOf: list, caller)
        }
        // Each node's list of children is part of the node: they are written from the bottom up.
        for place in missing.reversed() { addChild(place, caller) }
        for place in missing.dropFirst() { recharge(place, caller) }
        store(above, value: self.value(above, caller), permissions: inherited, caller)
        return place
    }

    /// The permission list of the node above, and the one that new nodes below get from it.
    private mutating func inheritance(from above: Place, _ caller: Caller) -> (above: Int32, new: Int32) {
        let inherited = lapsedList(of: above, caller)
        if caller.isPrivileged || permissions.owner(inherited) == caller.domain {
            permissions.retain(inherited)
            return (inherited, inherited)
        }
        var list = permissions[inherited]
        list[0].domain = caller.domain
        return (inherited, permissions.intern(list))
    }

    /// Refuses what goes over a quota, in the order in which xenstored would have written the nodes.
    private mutating func checkQuotas(
        making missing: [Place],
        below above: Place,
        value: StoreValue,
        list: Int32,
        inherited: Int32,
        _ caller: Caller
    ) throws(StoreErrorCode) {
        let (owner, ownerAbove) = (permissions.owner(list), permissions.owner(inherited))
        guard !caller.isPrivileged || owner > 0 || ownerAbove > 0 else { return }
        let quotas = quotas(of: caller.domain)
        let owned = tally(of: caller.domain).nodeCount
        let width = permissions.count(list)
        /// What the nodes before take of the memory of whoever pays for the next.
        var added = 0
        for index in 0...missing.count {
            let isAbove = index == missing.count
            let counted = caller.transaction == nil ? owned + index : owned
            guard caller.isPrivileged || isAbove || counted < quotas.nodes else {
                throw quotaExceeded(.noSpace, stamps: index, caller, isFirst: index == 0)
            }
            let child = index == 0 ? 0 : Int(tree.nameSize(missing[index - 1]))
            let own =
                isAbove ? self.value(above, caller).count + listingSize(above, caller) : index == 0 ? value.count : 0
            let size = nodeSize(width, own + child)
            guard caller.isPrivileged || size < quotas.nodeSize else {
                throw quotaExceeded(.noSpace, stamps: index + 1, caller, isFirst: false)
            }
            let place = isAbove ? above : missing[index]
            if isAbove, ownerAbove != owner, caller.transaction == nil { added = 0 }
            guard hasRoom(for: size, at: place, owner: isAbove ? ownerAbove : owner, added: added, caller) else {
                throw quotaExceeded(.inputOutput, stamps: index + 1, caller, isFirst: false)
            }
            added += cost(of: size, at: place, caller)
        }
    }

    /// Refuses to write over a node what would make it too large, or its owner's memory too full.
    mutating func checkSize(
        _ size: Int,
        of place: Place,
        owner: Int32,
        _ caller: Caller
    ) throws(StoreErrorCode) {
        let isSmallEnough = caller.isPrivileged || size < quotas(of: caller.domain).nodeSize
        guard isSmallEnough, hasRoom(for: size, at: place, owner: owner, caller) else {
            generation += 1
            fail(caller)
            // For want of memory xenstored answers with whatever error came before (R26).
            throw isSmallEnough ? .noMemory : .noSpace
        }
    }

    /// What stays of an attempt that broke off: the stamps it used, and a transaction that cannot be committed.
    private mutating func quotaExceeded(
        _ error: StoreErrorCode,
        stamps: Int,
        _ caller: Caller,
        isFirst: Bool
    ) -> StoreErrorCode {
        generation += UInt64(stamps)
        if !isFirst { fail(caller) }
        return error
    }

    private mutating func fail(_ caller: Caller) {
        if let transaction = caller.transaction { transactions[transaction].hasFailed = true }
    }

    /// Counts nodes for the owner of a permission list, now or at the commit.
    mutating func count(_ change: Int, ownerOf list: Int32, _ caller: Caller?) {
        let owner = permissions.owner(list)
        if let transaction = caller?.transaction {
            transactions[transaction].count(change, for: owner)
        } else {
            makeDomain(UInt32(bitPattern: owner))
            count(nodes: change, of: owner)
        }
    }

    // MARK: Removing

    /// Removes a node and all below (D18, D19).
    mutating func remove(_ path: String, _ caller: Caller) throws(StoreErrorCode) {
        let place: Place
        do throws(StoreErrorCode) {
            place = try node(path, .write, caller)
        } catch {
            guard error == .noEntry else { throw error }
            return try checkParent(of: path, caller)
        }
        guard place != StoreTree.root else { throw .invalid }
        try removeTree(place, path, caller)
    }

    /// Removing what is not there is fine where there is a parent.
    private mutating func checkParent(of path: String, _ caller: Caller) throws(StoreErrorCode) {
        let parent = parent(of: path)
        guard let place = caller.transaction == nil ? tree.find(parent) : tree.intern(parent),
            try look(at: place, caller)
        else { throw .noEntry }
    }

    private func parent(of path: String) -> String {
        StorePath(path)?.parent?.text ?? "/"
    }

    /// Removes a node and all below, those first that have nothing below them; `path` is the node's, where it is at hand.
    mutating func removeTree(_ top: Place, _ path: String?, _ caller: Caller) throws(StoreErrorCode) {
        let parent = tree.keys[Int(top)].parent
        guard try look(at: parent, caller) else { throw .invalid }
        tree.pin(top)
        defer { tree.unpin(top) }
        var steps = [(place: top, children: children(top, caller)[...])]
        while let last = steps.indices.last {
            if let child = steps[last].children.popFirst() {
                guard try look(inside: child, caller) else { throw .inputOutput }
                steps.append((child, children(child, caller)[...]))
            } else {
                removeEmpty(steps.removeLast().place, last == 0 ? path : nil, isTop: last == 0, caller)
            }
        }
        // Somebody else made the node after the transaction had read the parent (R27).
        guard removeChild(top, caller) else { throw .inputOutput }
        restamp(parent, caller)
    }

    /// A look at a child; whatever fails there, the whole removal fails with `EIO`.
    private mutating func look(inside child: Place, _ caller: Caller) throws(StoreErrorCode) -> Bool {
        do throws(StoreErrorCode) {
            return try look(at: child, caller)
        } catch {
            throw .inputOutput
        }
    }

    private mutating func removeEmpty(_ place: Place, _ path: String?, isTop: Bool, _ caller: Caller) {
        tree.pin(place)
        defer { tree.unpin(place) }
        fire(place, path, exact: !isTop, oldList: nil, caller)
        count(-1, ownerOf: permissionList(place, caller), caller)
        delete(place, caller)
        guard !isTop else { return }
        _ = removeChild(place, caller)
        restamp(tree.keys[Int(place)].parent, caller)
    }
}
