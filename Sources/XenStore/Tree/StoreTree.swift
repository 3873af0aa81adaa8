// SPDX-License-Identifier: MIT

import XenInterface

/// A place in the tree: the index of an entry.
typealias Place = Int32

/// No place.
let nowhere: Place = -1

/// The nodes of the store, in one array, found through one flat hash of whole paths.
///
/// An entry is kept for each node, and for each path without a node that something refers to: a watch, a transaction, an
/// entry below it. Such an entry does not `exist`; it is dropped with the last reference. The children of
/// a node are a linked list in the order of their making (D20).
struct StoreTree: Hashable, Sendable {
    /// What finding needs of an entry: kept apart, so that two fit a line of the cache.
    struct Key: Hashable, Sendable {
        var name: String
        /// The hash of the whole path.
        var hash: UInt64
        var parent: Place
        var nextInBucket: Place = nowhere
    }

    /// The rest of an entry.
    struct Entry: Hashable, Sendable {
        var value: [UInt8] = []
        /// When the node was last written: a stamp that no two writes share.
        var generation: UInt64 = .max
        var firstChild: Place = nowhere
        var lastChild: Place = nowhere
        var nextSibling: Place = nowhere
        var previousSibling: Place = nowhere
        var permissions: Int32 = -1
        /// The lengths of the children's names, with a NUL each: what a listing takes.
        var listingSize: Int32 = 0
        var firstWatch: Int32 = -1
        /// How many entries below, watches and transactions refer to this entry.
        var pins: Int32 = 0
        /// How many transactions rely on the children being as they are now.
        var snapshots: Int32 = 0
        var exists = false
        /// Whether it stands in its parent's list of children.
        var isListed = false
    }

    private(set) var keys: [Key] = []
    var entries: [Entry] = []
    private var buckets: [Place]
    private var firstFree: Place = nowhere
    private(set) var entryCount = 0
    /// How many nodes there are.
    var nodeCount = 0

    static let root: Place = 0

    init() {
        buckets = [Place](repeating: nowhere, count: 64)
        keys.append(Key(name: "", hash: PathHash.start, parent: StoreTree.root))
        entries.append(Entry())
        entries[0].pins = 1
        entryCount = 1
        insertIntoBucket(StoreTree.root)
    }

    // MARK: Finding

    /// The entry of a path, whether there is a node or not; nil if nothing refers to the path.
    func find(_ path: String) -> Place? {
        let bytes = path.utf8.span
        return bytes.count == 1 ? StoreTree.root : find(bytes, count: bytes.count)
    }

    /// The entry of the first `count` bytes of a path.
    private func find(_ bytes: Span<UInt8>, count: Int) -> Place? {
        let hash = PathHash.of(bytes, count: count)
        var place = buckets[Int(truncatingIfNeeded: PathHash.mix(hash)) & (buckets.count - 1)]
        while place != nowhere {
            if keys[Int(place)].hash == hash, isPath(of: place, bytes, count: count) { return place }
            place = keys[Int(place)].nextInBucket
        }
        return nil
    }

    /// The nearest entry above a path; the root at last.
    func nearestAbove(_ path: String) -> Place {
        let bytes = path.utf8.span
        var count = bytes.count
        while count > 1 {
            count -= 1
            guard bytes[count] == StoreTree.slash else { continue }
            if count == 0 { break }
            if let place = find(bytes, count: count) { return place }
        }
        return StoreTree.root
    }

    /// The entry of a path, made with those above it if need be.
    ///
    /// Give it a node or a pin, or drop it with `dropIfUnused(_:)`.
    mutating func intern(_ path: String) -> Place {
        if let place = find(path) { return place }
        let bytes = path.utf8.span
        var place = nearestAbove(path)
        var position = pathLength(of: place)
        while position < bytes.count {
            var end = position + 1
            while end < bytes.count, bytes[end] != StoreTree.slash { end += 1 }
            let name = String(decoding: path.utf8.dropFirst(position + 1).prefix(end - position - 1), as: UTF8.self)
            place = make(name: name, below: place)
            position = end
        }
        return place
    }

    /// The whole path of an entry.
    func path(of place: Place) -> String {
        if place == StoreTree.root { return "/" }
        var names: [String] = []
        var place = place
        while place != StoreTree.root {
            names.append(keys[Int(place)].name)
            place = keys[Int(place)].parent
        }
        return names.reversed().reduce(into: "") { $0 += "/" + $1 }
    }

    /// The length of `path(of:)` in bytes, the root's counted as none.
    private func pathLength(of place: Place) -> Int {
        var length = 0
        var place = place
        while place != StoreTree.root {
            length += 1 + keys[Int(place)].name.utf8.count
            place = keys[Int(place)].parent
        }
        return length
    }

    /// Compares from the last component to the first.
    private func isPath(of place: Place, _ bytes: Span<UInt8>, count: Int) -> Bool {
        var end = count
        var place = place
        while place != StoreTree.root {
            let name = keys[Int(place)].name.utf8.span
            let start = end - name.count
            guard start >= 1, bytes[start - 1] == StoreTree.slash else { return false }
            var index = 0
            while index < name.count {
                // Both are in range: `start + name.count` is `end`, which is at most `count`.
                guard unsafe name[unchecked: index] == bytes[unchecked: start &+ index] else { return false }
                index &+= 1
            }
            end = start - 1
            place = keys[Int(place)].parent
        }
        return end == 0
    }

    static var slash: UInt8 { 0x2F }

    // MARK: Making and dropping

    private mutating func make(name: String, below parent: Place) -> Place {
        let key = Key(name: name, hash: PathHash.extend(keys[Int(parent)].hash, name), parent: parent)
        let place: Place
        if firstFree != nowhere {
            place = firstFree
            firstFree = keys[Int(place)].nextInBucket
            keys[Int(place)] = key
            entries[Int(place)] = Entry()
        } else {
            // Growing by a quarter keeps the unused part of the arrays small.
            if keys.count == keys.capacity {
                keys.reserveCapacity(keys.count + keys.count / 4 + 16)
                entries.reserveCapacity(keys.count + keys.count / 4 + 16)
            }
            place = Place(keys.count)
            keys.append(key)
            entries.append(Entry())
        }
        entries[Int(parent)].pins += 1
        entryCount += 1
        if entryCount * 2 > buckets.count { growBuckets() }
        insertIntoBucket(place)
        return place
    }

    mutating func pin(_ place: Place) {
        entries[Int(place)].pins += 1
    }

    mutating func unpin(_ place: Place) {
        entries[Int(place)].pins -= 1
        dropIfUnused(place)
    }

    /// Drops an entry that has no node and that nothing refers to, and then those above it likewise.
    mutating func dropIfUnused(_ place: Place) {
        var place = place
        while !entries[Int(place)].exists, entries[Int(place)].pins == 0, place != StoreTree.root {
            let parent = keys[Int(place)].parent
            removeFromBucket(place)
            keys[Int(place)].name = ""
            keys[Int(place)].nextInBucket = firstFree
            firstFree = place
            entryCount -= 1
            entries[Int(parent)].pins -= 1
            place = parent
        }
    }

    // MARK: Children

    /// Puts a child at the end of its parent's list.
    mutating func list(_ place: Place) {
        let parent = keys[Int(place)].parent
        let last = entries[Int(parent)].lastChild
        entries[Int(place)].previousSibling = last
        entries[Int(place)].nextSibling = nowhere
        entries[Int(place)].isListed = true
        if last == nowhere {
            entries[Int(parent)].firstChild = place
        } else {
            entries[Int(last)].nextSibling = place
        }
        entries[Int(parent)].lastChild = place
        entries[Int(parent)].listingSize += nameSize(place)
    }

    /// Takes a child out of its parent's list.
    mutating func unlist(_ place: Place) {
        let parent = keys[Int(place)].parent
        let (previous, next) = (entries[Int(place)].previousSibling, entries[Int(place)].nextSibling)
        if previous == nowhere {
            entries[Int(parent)].firstChild = next
        } else {
            entries[Int(previous)].nextSibling = next
        }
        if next == nowhere {
            entries[Int(parent)].lastChild = previous
        } else {
            entries[Int(next)].previousSibling = previous
        }
        entries[Int(place)].previousSibling = nowhere
        entries[Int(place)].nextSibling = nowhere
        entries[Int(place)].isListed = false
        entries[Int(parent)].listingSize -= nameSize(place)
    }

    /// The children in the order of their making.
    func children(of place: Place) -> [Place] {
        var children: [Place] = []
        var child = entries[Int(place)].firstChild
        while child != nowhere {
            children.append(child)
            child = entries[Int(child)].nextSibling
        }
        return children
    }

    /// What the child's name takes in a listing, NUL included.
    func nameSize(_ place: Place) -> Int32 {
        Int32(keys[Int(place)].name.utf8.count + 1)
    }

    // MARK: The hash

    private mutating func insertIntoBucket(_ place: Place) {
        let bucket = bucket(of: place)
        keys[Int(place)].nextInBucket = buckets[bucket]
        buckets[bucket] = place
    }

    private mutating func removeFromBucket(_ place: Place) {
        let bucket = bucket(of: place)
        let next = keys[Int(place)].nextInBucket
        if buckets[bucket] == place {
            buckets[bucket] = next
            return
        }
        var current = buckets[bucket]
        while keys[Int(current)].nextInBucket != place { current = keys[Int(current)].nextInBucket }
        keys[Int(current)].nextInBucket = next
    }

    private func bucket(of place: Place) -> Int {
        Int(truncatingIfNeeded: PathHash.mix(keys[Int(place)].hash)) & (buckets.count - 1)
    }

    private mutating func growBuckets() {
        let old = buckets
        buckets = [Place](repeating: nowhere, count: old.count * 2)
        for var place in old {
            while place != nowhere {
                let next = keys[Int(place)].nextInBucket
                insertIntoBucket(place)
                place = next
            }
        }
    }
}
