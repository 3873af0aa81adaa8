// SPDX-License-Identifier: MIT

import XenInterface

/// A registered watch.
struct WatchRecord: Hashable, Sendable {
    let serial: UInt64
    let connection: StoreConnectionID
    /// The watched place; `nowhere` for a special name.
    let place: Place
    /// The name, if it is a special one.
    let special: StoreToken?
    let token: StoreToken
    /// How much of a changed node's path goes before the part that is sent: none, or the caller's own path and a slash (D29).
    let prefix: Int
    let depth: UInt32?
    /// The next watch of the same place.
    var next: Int32
    /// Where it stands in its connection's list.
    var position: Int

    /// Where the connection stands in the store's list.
    var slot: Int { Int(connection.slot) }
}

// Watches (D.5).
extension StoreServer {
    /// What a watch is registered for.
    enum WatchTarget {
        /// An absolute path, and how much of it is not sent.
        case path(String, prefix: Int)
        /// A name that begins with `@`.
        case special(StoreToken)

        /// The length of what is watched in bytes.
        var size: Int {
            switch self {
            case .path(let path, _): path.utf8.count
            case .special(let name): name.bytes.count
            }
        }
    }

    /// Registers a watch; the caller is then to send the first event with `sendFirstEvent(of:)`.
    mutating func watch(
        _ target: WatchTarget,
        token: StoreToken,
        depth: UInt32?,
        _ caller: Caller
    ) throws(StoreErrorCode) -> Int32 {
        guard let connection = connections[caller.slot]?.id else { throw .inputOutput }
        guard findWatch(target, token, caller) == nil else { throw .exists }
        let count = domains[UInt32(caller.domain)]?.watchCount ?? 0
        guard caller.isPrivileged || count <= quotas(of: caller.domain).watches else {
            throw rules.watchQuotaIsNoSpace ? .noSpace : .tooBig
        }
        let size = target.size + token.bytes.count
        guard mayTake(size, caller.domain) else { throw .noMemory }
        charge(size, caller.domain)
        var place = nowhere
        var special: StoreToken?
        var prefix = 0
        switch target {
        case .path(let path, let length):
            place = tree.intern(path)
            tree.pin(place)
            prefix = length
        case .special(let name):
            special = name
        }
        let next = place == nowhere ? -1 : tree.keys[Int(place)].firstWatch
        let record = WatchRecord(
            serial: nextWatchSerial,
            connection: connection,
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
        if place == nowhere { specialWatches.append(index) } else { tree.keys[Int(place)].firstWatch = index }
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
    mutating func unwatch(_ target: WatchTarget, token: StoreToken, _ caller: Caller) throws(StoreErrorCode) {
        guard let index = findWatch(target, token, caller) else { throw .noEntry }
        removeWatch(index)
    }

    private func findWatch(_ target: WatchTarget, _ token: StoreToken, _ caller: Caller) -> Int32? {
        switch target {
        case .path(let path, _):
            guard let place = tree.find(path) else { return nil }
            var index = tree.keys[Int(place)].firstWatch
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
        if let domain = connections[record.slot]?.domain {
            let watched = record.special?.bytes.count ?? max(1, Int(tree.keys[Int(record.place)].length))
            charge(-(watched + record.token.bytes.count), Int32(domain.rawValue))
            domains[UInt32(domain.rawValue)]?.watchCount -= 1
        }
        if record.place == nowhere {
            specialWatches.removeAll { $0 == index }
        } else {
            unlink(index, record)
            tree.unpin(record.place)
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
        if tree.keys[entry].firstWatch == index {
            tree.keys[entry].firstWatch = record.next
            return
        }
        var current = tree.keys[entry].firstWatch
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
        if let special = record.special {
            send(StoreEvent(special: special, token: record.token), record)
        } else {
            send(tree.path(of: record.place), index)
        }
    }

    // MARK: Firing

    /// Tells of a change to a node, at once or at the commit; `path` is the node's, where it is at hand.
    ///
    /// `oldList` is the permission list before the change and its stamp.
    mutating func fire(
        _ place: Place,
        _ path: String? = nil,
        exact: Bool,
        oldList: (list: Int32, stamp: UInt64)?,
        _ caller: Caller
    ) {
        guard let transaction = caller.transaction else {
            return send(place, path, exact: exact, oldList: oldList, isThere: true)
        }
        guard let index = transactions[transaction].index(of: place) else {
            transactions[transaction].hasFailed = true
            return
        }
        let old = transactions[transaction].nodes[index].firing
        if old == .none || !exact { transactions[transaction].nodes[index].firing = exact ? .exact : .full }
    }

    mutating func fireForCommit(_ place: Place, exact: Bool, oldList: (list: Int32, stamp: UInt64)?) {
        send(place, nil, exact: exact, oldList: oldList, isThere: tree.entries[Int(place)].exists)
    }

    /// Fires one of the two special names, for those who may read it (D35).
    mutating func fire(special name: String) {
        guard let list = specialPermissions[name] else { return }
        let name = StoreToken(name)
        let matching = specialWatches.filter { watches[Int($0)]?.special == name }
        for index in inOrder(matching) {
            guard let record = watches[Int(index)], let caller = caller(record.slot),
                rights(of: caller, list: list, stamp: .max).contains(.read)
            else { continue }
            send(StoreEvent(special: name, token: record.token), record)
        }
    }

    private mutating func send(
        _ place: Place,
        _ path: String?,
        exact: Bool,
        oldList: (list: Int32, stamp: UInt64)?,
        isThere: Bool
    ) {
        let matching = matchingWatches(place, exact: exact)
        guard !matching.isEmpty else { return }
        let path = path ?? tree.path(of: place)
        var known: (slot: Int, isPermitted: Bool)?
        for index in matching.count > 1 ? inOrder(matching) : matching {
            guard let slot = watches[Int(index)]?.slot else { continue }
            if known?.slot != slot {
                let isPermitted = maySee(place, slot, oldList: oldList, isThere: isThere)
                known = (slot, isPermitted)
            }
            if known?.isPermitted == true { send(path, index) }
        }
    }

    /// The watches that a change fires, in no order: most changes fire none, and this costs little then.
    private func matchingWatches(_ place: Place, exact: Bool) -> [Int32] {
        guard watchCount > 0 else { return [] }
        var matching: [Int32] = []
        var place = place
        var distance: UInt32 = 0
        while true {
            let key = tree.keys[Int(place)]
            var index = key.firstWatch
            while index >= 0 {
                if distance <= watches[Int(index)]?.depth ?? .max { matching.append(index) }
                index = watches[Int(index)]?.next ?? -1
            }
            if exact || place == StoreTree.root { return matching }
            place = key.parent
            distance += 1
        }
    }

    /// By connection, and within one by the time of registration.
    private func inOrder(_ indices: [Int32]) -> [Int32] {
        // Mostly one client's watches of one node, the latest first: a run that sorting only has to look at once. Field by field, since
        // copying a record counts references.
        indices.sorted { [watches] left, right in
            guard let first = watches[Int(left)]?.connection, let second = watches[Int(right)]?.connection else {
                return false
            }
            if first != second { return first < second }
            return (watches[Int(left)]?.serial ?? 0) < (watches[Int(right)]?.serial ?? 0)
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

    private mutating func send(_ path: String, _ index: Int32) {
        guard let record = watches[Int(index)] else { return }
        send(StoreEvent(path: path, prefix: record.prefix, token: record.token), record)
    }

    /// Sends one event, unless it is too long for a message (D32), or the watcher's memory is used up (D41).
    private mutating func send(_ event: StoreEvent, _ record: WatchRecord) {
        guard event.payloadSize <= StoreMessage.maximumPayload, let domain = connections[record.slot]?.domain,
            mayTake(event.encodedSize, Int32(domain.rawValue))
        else { return }
        outbox.append(.event(event, record.connection))
    }
}
