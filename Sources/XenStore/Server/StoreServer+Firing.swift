// SPDX-License-Identifier: MIT

import XenInterface

/// A watch that a change fires, with what says when its turn is.
struct FiredWatch: Hashable, Sendable {
    let connection: StoreConnectionID
    let serial: UInt64
    let index: Int32

    /// By connection, and within one by the time of registration.
    static func precedes(_ left: FiredWatch, _ right: FiredWatch) -> Bool {
        left.connection == right.connection ? left.serial < right.serial : left.connection < right.connection
    }
}

// What watches tell (D.5).
extension StoreServer {
    /// The event that follows the registration at once, whatever is at the path (D27).
    mutating func sendFirstEvent(of index: Int32) {
        let record = watches[Int(index)]
        guard let token = watchTokens[Int(index)], let domain = connections[record.slot]?.domain else { return }
        let subject: StoreEventSubject
        if record.place == nowhere, let special = specialWatches.first(where: { $0.index == index })?.name {
            subject = StoreEventSubject(special: special)
        } else {
            subject = StoreEventSubject(path: tree.path(of: record.place), prefix: record.prefix)
        }
        add(StoreEvent(subject, token), domain)
        announceEvents(to: record.connection)
    }

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
        if let path { transactions[transaction].nodes[index].path = path }
    }

    /// Tells of a change to a node at the commit that makes it.
    mutating func fireForCommit(
        _ place: Place,
        _ path: String?,
        exact: Bool,
        oldList: (list: Int32, stamp: UInt64)?
    ) {
        send(place, path, exact: exact, oldList: oldList, isThere: tree.entries[Int(place)].exists)
    }

    /// Fires one of the two special names, for those who may read it (D35).
    mutating func fire(special name: String) {
        guard let list = specialPermissions[name] else { return }
        let name = StoreToken(name)
        let subject = StoreEventSubject(special: name)
        for watch in specialWatches where watch.name == name { note(watch.index) }
        fired.sort(by: FiredWatch.precedes)
        defer { fired.removeAll(keepingCapacity: true) }
        for watch in fired {
            let slot = Int(watch.connection.slot)
            guard let token = watchTokens[Int(watch.index)], let domain = connections[slot]?.domain,
                let caller = caller(slot), rights(of: caller, list: list, stamp: .max).contains(.read)
            else { continue }
            add(StoreEvent(subject, token), domain)
            announceEvents(to: watch.connection)
        }
    }

    private mutating func send(
        _ place: Place,
        _ path: String?,
        exact: Bool,
        oldList: (list: Int32, stamp: UInt64)?,
        isThere: Bool
    ) {
        noteWatchesFired(by: place, exact: exact)
        guard var connection = fired.first?.connection else { return }
        // Item by item: `removeAll` costs far more for so few.
        defer { while !fired.isEmpty { fired.removeLast() } }
        let path = path ?? tree.path(of: place)
        var subject = StoreEventSubject(path: path, prefix: 0)
        var domain = watcher(connection, maySee: place, oldList: oldList, isThere: isThere)
        for index in fired.indices {
            let watch = fired[index]
            if watch.connection != connection {
                announceEvents(to: connection)
                connection = watch.connection
                domain = watcher(connection, maySee: place, oldList: oldList, isThere: isThere)
            }
            guard let domain, let token = watchTokens[Int(watch.index)] else { continue }
            let prefix = watches[Int(watch.index)].prefix
            if prefix != subject.prefix { subject = StoreEventSubject(path: path, prefix: prefix) }
            add(StoreEvent(subject, token), domain)
        }
        announceEvents(to: connection)
    }

    /// Notes the watches that a change fires, in the order of their turns: most changes fire none, and this costs little then.
    private mutating func noteWatchesFired(by place: Place, exact: Bool) {
        guard watchCount > 0 else { return }
        var place = place
        var distance: UInt32 = 0
        while true {
            let key = tree.keys[Int(place)]
            var index = key.firstWatch
            while index >= 0 {
                if distance <= watches[Int(index)].depth { note(index) }
                index = watches[Int(index)].next
            }
            if exact || place == StoreTree.root { break }
            place = key.parent
            distance += 1
        }
        // Mostly one or two, the latest first: to sort so few costs more than to look at them.
        if fired.count == 2 {
            if FiredWatch.precedes(fired[1], fired[0]) { fired.swapAt(0, 1) }
        } else if fired.count > 2 {
            fired.sort(by: FiredWatch.precedes)
        }
    }

    private mutating func note(_ index: Int32) {
        let record = watches[Int(index)]
        fired.append(FiredWatch(connection: record.connection, serial: record.serial, index: index))
    }

    /// The domain of a connection, if it may learn of a change: by the old permission list, the node's, or its parent's (D30).
    private mutating func watcher(
        _ connection: StoreConnectionID,
        maySee place: Place,
        oldList: (list: Int32, stamp: UInt64)?,
        isThere: Bool
    ) -> DomainID? {
        guard let caller = caller(Int(connection.slot)) else { return nil }
        let domain = DomainID(UInt16(truncatingIfNeeded: caller.domain))
        if let oldList, rights(of: caller, list: oldList.list, stamp: oldList.stamp).contains(.read) { return domain }
        guard isThere else { return nil }
        if rights(of: caller, at: place).contains(.read) { return domain }
        let parent = tree.keys[Int(place)].parent
        let isReadable = tree.entries[Int(parent)].exists && rights(of: caller, at: parent).contains(.read)
        return isReadable ? domain : nil
    }

    /// Adds an event for a client of a domain, unless it is too long for a message (D32), or the memory is used up (D41).
    private mutating func add(_ event: StoreEvent, _ domain: DomainID) {
        guard event.payloadSize <= StoreMessage.maximumPayload,
            mayTake(event.encodedSize, Int32(domain.rawValue))
        else { return }
        events.append(event)
    }

    /// Puts out the events that were added since the last call.
    private mutating func announceEvents(to connection: StoreConnectionID) {
        guard events.count > announcedEvents else { return }
        outbox.append(Outgoing(eventCount: events.count - announcedEvents, connection: connection))
        announcedEvents = events.count
    }
}
