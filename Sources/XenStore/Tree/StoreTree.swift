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
    /// What finding needs of an entry: kept apart, so that as many as can fit a line of the cache.
    struct Key: Hashable, Sendable {
        /// The low half of the hash of the whole path.
        var hash: UInt32
        /// Where its text begins: the whole path of an entry below which another was made by itself, the name alone of any other. The root's
        /// has none.
        var start: TextStart
        /// The length of the path.
        var length: UInt16
        /// Where the name begins in the path.
        var nameStart: UInt16
        var parent: Place
        var nextInBucket: Place = nowhere
        var firstWatch: Int32 = -1
    }

    /// A place in the text, and whether it is that of a whole path or of a name.
    struct TextStart: Hashable, Sendable {
        private let bits: UInt32
        var isWhole: Bool { bits & 1 == 1 }
        var index: Int { Int(bits >> 1) }

        init(_ index: Int, isWhole: Bool) {
            bits = UInt32(index * 2 + (isWhole ? 1 : 0))
        }
    }

    /// The rest of an entry.
    struct Entry: Hashable, Sendable {
        var value = StoreValue()
        /// When the node was last written: a stamp that no two writes share.
        var generation: UInt64 = .max
        var firstChild: Place = nowhere
        /// `unlisted` if it does not stand in its parent's list of children.
        var nextSibling: Place = unlisted
        /// The last one if it is the first.
        var previousSibling: Place = nowhere
        /// -1 if there is no node.
        var permissions: Int32 = -1
        /// The lengths of the children's names, with a NUL each: what a listing takes.
        var listingSize: Int32 = 0
        /// How many entries below, watches and transactions refer to this entry.
        var pins: Int32 = 0
        /// How many transactions rely on the children being as they are now.
        var snapshots: Int32 = 0
        /// What the owner pays for the node in bytes of memory.
        var charged: Int32 = 0

        var exists: Bool { permissions >= 0 }
        var isListed: Bool { nextSibling != unlisted }
    }

    static let unlisted: Place = -2

    var keys: [Key] = []
    var entries: [Entry] = []
    /// The paths and names of all entries, and of some that are gone.
    private(set) var text: [UInt8] = []
    private(set) var unusedText = 0
    private var buckets: [Place]
    private var firstFree: Place = nowhere
    private(set) var entryCount = 0
    /// How many nodes there are.
    var nodeCount = 0

    static let root: Place = 0

    init() {
        buckets = [Place](repeating: nowhere, count: 64)
        keys.append(Key(hash: 0, start: TextStart(0, isWhole: true), length: 0, nameStart: 0, parent: StoreTree.root))
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
        let hash = UInt32(truncatingIfNeeded: PathHash.of(bytes, count: count))
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
        var key = keys[Int(place)]
        let count = Int(key.length)
        guard count > 0 else { return "/" }
        return unsafe String(unsafeUninitializedCapacity: count) { buffer in
            // From the last name upwards, as far as there are but names.
            while !key.start.isWhole {
                let (start, end) = (Int(key.nameStart), Int(key.length))
                _ = unsafe UnsafeMutableBufferPointer(rebasing: buffer[start..<end])
                    .initialize(from: text[nameRange(of: key)])
                unsafe buffer[start - 1] = StoreTree.slash
                key = keys[Int(key.parent)]
            }
            let whole = wholeRange(of: key)
            _ = unsafe UnsafeMutableBufferPointer(rebasing: buffer[..<whole.count]).initialize(from: text[whole])
            return count
        }
    }

    /// The last component of an entry's path.
    func name(of place: Place) -> String {
        String(decoding: nameBytes(of: place), as: UTF8.self)
    }

    /// The bytes of an entry's name.
    func nameBytes(of place: Place) -> ArraySlice<UInt8> {
        text[nameRange(of: keys[Int(place)])]
    }

    private func nameRange(of key: Key) -> Range<Int> {
        let start = key.start.index + (key.start.isWhole ? Int(key.nameStart) : 0)
        return start..<(start + Int(key.length - key.nameStart))
    }

    /// Where the whole path of an entry lies that has one.
    private func wholeRange(of key: Key) -> Range<Int> {
        key.start.index..<(key.start.index + Int(key.length))
    }

    private func textRange(of key: Key) -> Range<Int> {
        key.start.isWhole ? wholeRange(of: key) : nameRange(of: key)
    }

    private func isPath(of key: Key, _ bytes: Span<UInt8>) -> Bool {
        let text = text.span
        var key = key
        while !key.start.isWhole {
            let (start, nameStart) = (key.start.index, Int(key.nameStart))
            let name = Int(key.length) - nameStart
            precondition(start + name <= text.count, "the text is there")
            // In range, as was checked, and as the caller has compared the lengths.
            guard unsafe bytes[unchecked: nameStart - 1] == StoreTree.slash,
                unsafe text.extracting(unchecked: start..<(start + name))
                    .isEqual(to: bytes.extracting(unchecked: nameStart..<(nameStart + name)), count: name)
            else { return false }
            key = keys[Int(key.parent)]
        }
        return text.extracting(wholeRange(of: key)).isEqual(to: bytes, count: Int(key.length))
    }

    static var slash: UInt8 { 0x2F }

    // MARK: Making and dropping

    /// Makes the entry whose path is the first `count` bytes.
    private mutating func make(_ bytes: Span<UInt8>, count: Int, below parent: Place) -> Place {
        // Not those on the way to it: a deep path would take the square of its length, at a guest's will.
        if count == bytes.count { makeWhole(parent, bytes) }
        let nameStart = keys[Int(parent)].length + 1
        let key = Key(
            hash: UInt32(truncatingIfNeeded: PathHash.of(bytes, count: count)),
            start: TextStart(text.count, isWhole: false),
            length: UInt16(count),
            nameStart: nameStart,
            parent: parent
        )
        for index in Int(nameStart)..<count { text.append(bytes[index]) }
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
        if entryCount > buckets.count { growBuckets() }
        insertIntoBucket(place)
        return place
    }

    /// Keeps the whole path of an entry, with which the path of one below it begins.
    private mutating func makeWhole(_ place: Place, _ bytes: Span<UInt8>) {
        let key = keys[Int(place)]
        guard !key.start.isWhole else { return }
        let start = text.count
        for index in 0..<Int(key.length) { text.append(bytes[index]) }
        unusedText += nameRange(of: key).count
        keys[Int(place)].start = TextStart(start, isWhole: true)
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
            unusedText += textRange(of: keys[Int(place)]).count
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
            let kept = text[textRange(of: keys[index])]
            keys[index].start = TextStart(compact.count, isWhole: keys[index].start.isWhole)
            compact.append(contentsOf: kept)
        }
        text = compact
        unusedText = 0
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

    private func bucket(of hash: UInt32) -> Int {
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
