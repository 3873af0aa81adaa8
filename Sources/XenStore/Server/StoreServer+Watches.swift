// SPDX-License-Identifier: MIT

import XenInterface

/// A registered watch, but for its token.
struct WatchRecord: Hashable, Sendable {
    let serial: UInt64
    let connection: StoreConnectionID
    /// The watched place; `nowhere` for a special name.
    let place: Place
    /// How far below the place a change is told; `max` without a bound.
    let depth: UInt32
    /// How much of a changed node's path goes before the part that is sent: none, or the caller's own path and a slash (D29).
    let prefix: Int32
    /// The next watch of the same place.
    var next: Int32
    /// Where it stands in its connection's list.
    var position: Int32

    /// Where the connection stands in the store's list.
    var slot: Int { Int(connection.slot) }
}

/// A watch of a name that begins with `@`.
struct SpecialWatch: Hashable, Sendable {
    let index: Int32
    let name: StoreToken
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
            case .special(let name): name.count
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
        let count = tally(of: caller.domain).watchCount
        guard caller.isPrivileged || count <= quotas(of: caller.domain).watches else {
            throw rules.watchQuotaIsNoSpace ? .noSpace : .tooBig
        }
        let size = target.size + token.count
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
        let record = WatchRecord(
            serial: nextWatchSerial,
            connection: connection,
            place: place,
            depth: depth ?? .max,
            prefix: Int32(prefix),
            next: place == nowhere ? -1 : tree.keys[Int(place)].firstWatch,
            position: Int32(connections[caller.slot]?.watches.count ?? 0)
        )
        nextWatchSerial += 1
        let index = add(record, token)
        if let special {
            specialWatches.append(SpecialWatch(index: index, name: special))
        } else {
            tree.keys[Int(place)].firstWatch = index
        }
        connections[caller.slot]?.watches.append(index)
        self.count(watches: 1, of: caller.domain)
        return index
    }

    private mutating func add(_ record: WatchRecord, _ token: StoreToken) -> Int32 {
        guard let index = freeWatches.popLast() else {
            watches.append(record)
            watchTokens.append(token)
            return Int32(watches.count - 1)
        }
        watches[Int(index)] = record
        watchTokens[Int(index)] = token
        return index
    }

    /// Removes a watch (D35).
    mutating func unwatch(_ target: WatchTarget, token: StoreToken, _ caller: Caller) throws(StoreErrorCode) {
        guard let index = findWatch(target, token, caller) else { throw .noEntry }
        removeWatch(index)
    }

    private func findWatch(_ target: WatchTarget, _ token: StoreToken, _ caller: Caller) -> Int32? {
        func isSought(_ index: Int32) -> Bool {
            watches[Int(index)].slot == caller.slot && watchTokens[Int(index)] == token
        }
        switch target {
        case .path(let path, _):
            guard let place = tree.find(path) else { return nil }
            var index = tree.keys[Int(place)].firstWatch
            while index >= 0, !isSought(index) { index = watches[Int(index)].next }
            return index < 0 ? nil : index
        case .special(let name):
            return specialWatches.first { $0.name == name && isSought($0.index) }?.index
        }
    }

    private mutating func removeWatch(_ index: Int32) {
        guard let token = watchTokens[Int(index)] else { return }
        let record = watches[Int(index)]
        let watched: Int
        if record.place == nowhere, let special = specialWatches.firstIndex(where: { $0.index == index }) {
            watched = specialWatches.remove(at: special).name.count
        } else {
            watched = max(1, Int(tree.keys[Int(record.place)].length))
            unlink(index, record)
            tree.unpin(record.place)
        }
        if let domain = connections[record.slot]?.domain {
            charge(-(watched + token.count), Int32(domain.rawValue))
            count(watches: -1, of: Int32(domain.rawValue))
        }
        if let last = connections[record.slot]?.watches.popLast(), last != index {
            connections[record.slot]?.watches[Int(record.position)] = last
            watches[Int(last)].position = record.position
        }
        watchTokens[Int(index)] = nil
        freeWatches.append(index)
    }

    private mutating func unlink(_ index: Int32, _ record: WatchRecord) {
        let entry = Int(record.place)
        if tree.keys[entry].firstWatch == index {
            tree.keys[entry].firstWatch = record.next
            return
        }
        var current = tree.keys[entry].firstWatch
        while watches[Int(current)].next != index { current = watches[Int(current)].next }
        watches[Int(current)].next = record.next
    }

    /// Removes every watch of a connection.
    mutating func removeWatches(of slot: Int) {
        while let index = connections[slot]?.watches.last {
            removeWatch(index)
        }
    }
}
