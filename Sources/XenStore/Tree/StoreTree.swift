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
        /// The hash of the whole path.
        var hash: UInt64
        /// Where the path begins in `text`, and its length; the root's has none.
        var start: UInt32
        var length: UInt16
        /// Where the name begins in the path.
        var nameStart: UInt16
        var parent: Place
        var nextInBucket: Place = nowhere
        var firstWatch: Int32 = -1
    }

    /// The rest of an entry.
    struct Entry: Hashable, Sendable {
        var value = NodeValue.empty
        /// When the node was last written: a stamp that no two writes share.
        var generation: UInt64 = .max
        var firstChild: Place = nowhere
        var lastChild: Place = nowhere
        var nextSibling: Place = nowhere
        var previousSibling: Place = nowhere
        var permissions: Int32 = -1
        /// The lengths of the children's names, with a NUL each: what a listing takes.
        var listingSize: Int32 = 0
        /// How many entries below, watches and transactions refer to this entry.
        var pins: Int32 = 0
        /// How many transactions rely on the children being as they are now.
        var snapshots: Int32 = 0
        /// What the owner pays for the node in bytes of memory.
        var charged: Int32 = 0
        var exists = false
        /// Whether it stands in its parent's list of children.
        var isListed = false
    }

    var keys: [Key] = []
    var entries: [Entry] = []
    /// The paths of all entries, and of some that are gone.
    private var text: [UInt8] = []
    private var unusedText = 0
    private var buckets: [Place]
    private var firstFree: Place = nowhere
    private(set) var entryCount = 0
    /// How many nodes there are.
    var nodeCount = 0

    static let root: Place = 0

    init() {
        buckets = [Place](repeating: nowhere, count: 64)
        keys.append(Key(hash: 0, start: 0, length: 0, nameStart: 0, parent: StoreTree.root))
        entries.append(Entry())
        entries[0].pins = 1
        entryCount = 1
        insertIntoBucket(StoreTree.root)
    }

    // MARK: Finding

    /// The entry of a path, whether there is a node or not; nil if nothing refers to the path.
    func find(_ path: String) -> Place? {
        path.withBytes { $0.count == 1 ? StoreTree.root : find($0, count: $0.count) }
    }

    /// The entry of the first `count` bytes of a path.
    private func find(_ bytes: Span<UInt8>, count: Int) -> Place? {
        let hash = PathHash.of(bytes, count: count)
        var place = buckets[bucket(of: hash)]
        while place != nowhere {
            let key = keys[Int(place)]
            if key.hash == hash, Int(key.length) == count, isPath(of: key, bytes) { return place }
            place = key.nextInBucket
        }
        return nil
    }

    /// The nearest entry above a path; the root at last.
    func nearestAbove(_ path: String) -> Place {
        path.withBytes { bytes in
            var count = bytes.count - 1
            while count > 0 {
                if bytes[count] == StoreTree.slash, let place = find(bytes, count: count) { return place }
                count -= 1
            }
            return StoreTree.root
        }
    }

    /// The entry of a path, made with those above it if need be.
    ///
    /// Give it a node or a pin, or drop it with `dropIfUnused(_:)`.
    mutating func intern(_ path: String) -> Place {
        if let place = find(path) { return place }
        var place = nearestAbove(path)
        var end = Int(keys[Int(place)].length)
        let count = path.utf8.count
        while end < count {
            place = path.withBytes { bytes in
                end += 1
                while end < count, bytes[end] != StoreTree.slash { end += 1 }
                return make(bytes, count: end, below: place)
            }
        }
        return place
    }

    /// The whole path of an entry.
    func path(of place: Place) -> String {
        place == StoreTree.root ? "/" : String(decoding: text[range(of: keys[Int(place)])], as: UTF8.self)
    }

    /// The hash of an entry's whole path; the root, which has no text, is found without one.
    func pathHash(of place: Place) -> UInt64? {
        place == StoreTree.root ? nil : keys[Int(place)].hash
    }

    /// The last component of an entry's path.
    func name(of place: Place) -> String {
        String(decoding: nameBytes(of: place), as: UTF8.self)
    }

    /// The bytes of an entry's name.
    func nameBytes(of place: Place) -> ArraySlice<UInt8> {
        let key = keys[Int(place)]
        return text[range(of: key).dropFirst(Int(key.nameStart))]
    }

    private func range(of key: Key) -> Range<Int> {
        Int(key.start)..<(Int(key.start) + Int(key.length))
    }

    private func isPath(of key: Key, _ bytes: Span<UInt8>) -> Bool {
        PathHash.isEqual(text.span.extracting(range(of: key)), bytes, count: Int(key.length))
    }

    static var slash: UInt8 { 0x2F }

    // MARK: Making and dropping

    /// Makes the entry whose path is the first `count` bytes.
    private mutating func make(_ bytes: Span<UInt8>, count: Int, below parent: Place) -> Place {
        let key = Key(
            hash: PathHash.of(bytes, count: count),
            start: UInt32(text.count),
            length: UInt16(count),
            nameStart: keys[Int(parent)].length + 1,
            parent: parent
        )
        for index in 0..<count { text.append(bytes[index]) }
        let place: Place
        if firstFree != nowhere {
            place = firstFree
            firstFree = keys[Int(place)].nextInBucket
            keys[Int(place)] = key
            entries[Int(place)] = Entry()
        } else {
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
            unusedText += Int(keys[Int(place)].length)
            keys[Int(place)].length = 0
            keys[Int(place)].nextInBucket = firstFree
            firstFree = place
            entryCount -= 1
            entries[Int(parent)].pins -= 1
            place = parent
        }
        if unusedText > 4096, unusedText > text.count / 2 { compactText() }
    }

    /// Drops the paths of entries that are gone.
    private mutating func compactText() {
        var compact: [UInt8] = []
        compact.reserveCapacity(text.count - unusedText)
        for index in keys.indices where keys[index].length > 0 {
            let path = text[range(of: keys[index])]
            keys[index].start = UInt32(compact.count)
            compact.append(contentsOf: path)
        }
        text = compact
        unusedText = 0
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
        Int32(keys[Int(place)].length - keys[Int(place)].nameStart + 1)
    }

    // MARK: The hash

    private mutating func insertIntoBucket(_ place: Place) {
        let bucket = bucket(of: keys[Int(place)].hash)
        keys[Int(place)].nextInBucket = buckets[bucket]
        buckets[bucket] = place
    }

    private mutating func removeFromBucket(_ place: Place) {
        let bucket = bucket(of: keys[Int(place)].hash)
        let next = keys[Int(place)].nextInBucket
        if buckets[bucket] == place {
            buckets[bucket] = next
            return
        }
        var current = buckets[bucket]
        while keys[Int(current)].nextInBucket != place { current = keys[Int(current)].nextInBucket }
        keys[Int(current)].nextInBucket = next
    }

    private func bucket(of hash: UInt64) -> Int {
        Int(truncatingIfNeeded: hash) & (buckets.count - 1)
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
