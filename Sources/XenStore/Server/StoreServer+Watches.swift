// SPDX-License-Identifier: MIT

import XenInterface

/// A registered watch.
struct WatchRecord: Hashable, Sendable {
    let serial: UInt64
    let slot: Int
    /// The watched place; `nowhere` for a special name.
    let place: Place
    /// The name, if it is a special one.
    let special: [UInt8]
    let token: [UInt8]
    /// How much of a changed node's path goes before the part that is sent: none, or the caller's own path and a slash (D29).
    let prefix: Int
    let depth: UInt32?
    /// The next watch of the same place.
    var next: Int32
    /// Where it stands in its connection's list.
    var position: Int
}

// Watches (D.5).
extension StoreServer {
    /// What a watch is registered for.
    enum WatchTarget {
        /// An absolute path, and how much of it is not sent.
        case path(String, prefix: Int)
        /// A name that begins with `@`.
        case special([UInt8])
    }

    /// Registers a watch; the caller is then to send the first event with `sendFirstEvent(of:)`.
    mutating func watch(
        _ target: WatchTarget,
        token: [UInt8],
        depth: UInt32?,
        _ caller: Caller
    ) throws(StoreErrorCode) -> Int32 {
        guard findWatch(target, token, caller) == nil else { throw .exists }
        let count = domains[UInt32(caller.domain)]?.watchCount ?? 0
        guard caller.isPrivileged || count <= rules.quotas.watches else {
            throw rules.watchQuotaIsNoSpace ? .noSpace : .tooBig
        }
        var place = nowhere
        var special: [UInt8] = []
        var prefix = 0
        switch target {
        case .path(let path, let length):
            place = tree.intern(path)
            tree.pin(place)
            prefix = length
        case .special(let name):
            special = name
        }
        let next = place == nowhere ? -1 : tree.entries[Int(place)].firstWatch
        let record = WatchRecord(
            serial: nextWatchSerial,
            slot: caller.slot,
            place: place,
            special: special,
            token: token,
            prefix: prefix,
            depth: depth,
            next: next,
            position: connections[caller.slot]?.watches.count ?? 0
        )
        nextWatchSerial += 1
        let index = add(record)
        if place == nowhere { specialWatches.append(index) } else { tree.entries[Int(place)].firstWatch = index }
        connections[caller.slot]?.watches.append(index)
        domains[UInt32(caller.domain)]?.watchCount += 1
        return index
    }

    private mutating func add(_ record: WatchRecord) -> Int32 {
        guard let index = freeWatches.popLast() else {
            watches.append(record)
            return Int32(watches.count - 1)
        }
        watches[Int(index)] = record
        return index
    }

    /// Removes a watch (D35).
    mutating func unwatch(_ target: WatchTarget, token: [UInt8], _ caller: Caller) throws(StoreErrorCode) {
        guard let index = findWatch(target, token, caller) else { throw .noEntry }
        removeWatch(index)
    }

    private func findWatch(_ target: WatchTarget, _ token: [UInt8], _ caller: Caller) -> Int32? {
        switch target {
        case .path(let path, _):
            guard let place = tree.find(path) else { return nil }
            var index = tree.entries[Int(place)].firstWatch
            while let record = index < 0 ? nil : watches[Int(index)] {
                if record.slot == caller.slot, record.token == token { return index }
                index = record.next
            }
            return nil
        case .special(let name):
            return specialWatches.first { index in
                let record = watches[Int(index)]
                return record?.slot == caller.slot && record?.special == name && record?.token == token
            }
        }
    }

    private mutating func removeWatch(_ index: Int32) {
        guard let record = watches[Int(index)] else { return }
        if record.place == nowhere {
            specialWatches.removeAll { $0 == index }
        } else {
            unlink(index, record)
            tree.unpin(record.place)
        }
        if let domain = connections[record.slot]?.domain {
            domains[UInt32(domain.rawValue)]?.watchCount -= 1
        }
        if let last = connections[record.slot]?.watches.popLast(), last != index {
            connections[record.slot]?.watches[record.position] = last
            watches[Int(last)]?.position = record.position
        }
        watches[Int(index)] = nil
        freeWatches.append(index)
    }

    private mutating func unlink(_ index: Int32, _ record: WatchRecord) {
        let entry = Int(record.place)
        if tree.entries[entry].firstWatch == index {
            tree.entries[entry].firstWatch = record.next
            return
        }
        var current = tree.entries[entry].firstWatch
        while current >= 0, let other = watches[Int(current)] {
            if other.next == index {
                watches[Int(current)]?.next = record.next
                return
            }
            current = other.next
        }
    }

    /// Removes every watch of a connection.
    mutating func removeWatches(of slot: Int) {
        while let index = connections[slot]?.watches.last {
            removeWatch(index)
        }
    }

    /// The event that follows the registration at once, whatever is at the path (D27).
    mutating func sendFirstEvent(of index: Int32) {
        guard let record = watches[Int(index)] else { return }
        send(record.place == nowhere ? record.special : [UInt8](tree.path(of: record.place).utf8), record)
    }

    // MARK: Firing

    /// Tells of a change to a node, at once or at the commit. `oldList` is the permission list before the change and its stamp.
    mutating func fire(
        _ place: Place,
        exact: Bool,
        oldList: (list: Int32, stamp: UInt64)?,
        _ caller: Caller
    ) {
        guard let transaction = caller.transaction else {
            return send(place, exact: exact, oldList: oldList, isThere: true)
        }
        guard let index = transactions[transaction].index(of: place) else {
            transactions[transaction].hasFailed = true
            return
        }
        let old = transactions[transaction].nodes[index].firing
        if old == .none || !exact { transactions[transaction].nodes[index].firing = exact ? .exact : .full }
    }

    mutating func fireForCommit(_ place: Place, exact: Bool, oldList: (list: Int32, stamp: UInt64)?) {
        send(place, exact: exact, oldList: oldList, isThere: tree.entries[Int(place)].exists)
    }

    /// Fires one of the two special names, for those who may read it (D35).
    mutating func fire(special name: String) {
        guard let list = specialPermissions[name] else { return }
        let bytes = [UInt8](name.utf8)
        let matching = specialWatches.compactMap { watches[Int($0)] }.filter { $0.special == bytes }
        for record in inOrder(matching) {
            guard let caller = caller(record.slot) else { continue }
            if rights(of: caller, list: list, stamp: .max).contains(.read) { send(bytes, record) }
        }
    }

    private mutating func send(_ place: Place, exact: Bool, oldList: (list: Int32, stamp: UInt64)?, isThere: Bool) {
        let matching = matchingWatches(place, exact: exact)
        guard !matching.isEmpty else { return }
        let path = [UInt8](tree.path(of: place).utf8)
        var known: (slot: Int, isPermitted: Bool)?
        for record in inOrder(matching) {
            if known?.slot != record.slot {
                let isPermitted = maySee(place, record.slot, oldList: oldList, isThere: isThere)
                known = (record.slot, isPermitted)
            }
            if known?.isPermitted == true { send(path, record) }
        }
    }

    private func matchingWatches(_ place: Place, exact: Bool) -> [WatchRecord] {
        guard watchCount > 0 else { return [] }
        var matching: [WatchRecord] = []
        var place = place
        var distance: UInt32 = 0
        while true {
            var index = tree.entries[Int(place)].firstWatch
            while index >= 0, let record = watches[Int(index)] {
                if distance <= record.depth ?? .max { matching.append(record) }
                index = record.next
            }
            if exact || place == StoreTree.root { return matching }
            place = tree.keys[Int(place)].parent
            distance += 1
        }
    }

    /// By connection, and within one by the time of registration.
    private func inOrder(_ records: [WatchRecord]) -> [WatchRecord] {
        if records.count < 2 { return records }
        return records.sorted { left, right in
            if left.slot == right.slot { return left.serial < right.serial }
            let first = connections[left.slot]?.id.serial ?? 0
            return first < connections[right.slot]?.id.serial ?? 0
        }
    }

    /// Whether the owner of a connection may learn of a change: by the old permission list, the node's, or its parent's (D30).
    private func maySee(
        _ place: Place,
        _ slot: Int,
        oldList: (list: Int32, stamp: UInt64)?,
        isThere: Bool
    ) -> Bool {
        guard let caller = caller(slot) else { return false }
        if let oldList, rights(of: caller, list: oldList.list, stamp: oldList.stamp).contains(.read) { return true }
        guard isThere else { return false }
        if rights(of: caller, at: place).contains(.read) { return true }
        let parent = tree.keys[Int(place)].parent
        return tree.entries[Int(parent)].exists && rights(of: caller, at: parent).contains(.read)
    }

    /// Sends one event, unless it is too long for a message (D32).
    private mutating func send(_ path: [UInt8], _ record: WatchRecord) {
        let text = path[min(record.prefix, path.count)...]
        let size = text.count + record.token.count + 2
        guard size <= StoreMessage.maximumPayload, let id = connections[record.slot]?.id else { return }
        var payload: [UInt8] = []
        payload.reserveCapacity(size)
        payload.append(contentsOf: text)
        payload.append(0)
        payload.append(contentsOf: record.token)
        payload.append(0)
        outbox.append(.message(StoreMessage(.watchEvent, payload: payload), to: id))
    }
}
