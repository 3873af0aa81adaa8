// SPDX-License-Identifier: MIT

import XenInterface

/// An open transaction: the nodes it has touched, in the order of the first touch (D37, D38).
struct TransactionRecord: Hashable, Sendable {
    /// The slot of the connection; -1 while the record is free for another transaction.
    private(set) var slot = -1
    /// The client's domain, which pays for the copies of nodes.
    private(set) var domain: Int32 = 0
    /// How much longer than a node's path the key of its copy is: xenstored puts the stamp of the start before it.
    private(set) var keyPrefix = 0
    /// What the domain pays for all copies, in bytes.
    var charged = 0
    var nodes: [TransactionNode] = []
    private var indices: [Place: Int] = [:]
    /// What the transaction does to the number of nodes each domain owns, in the order of the first change.
    var countChanges: [CountChange] = []
    var hasCreated = false
    /// Something went wrong inside: it cannot be committed (D39).
    var hasFailed = false

    struct CountChange: Hashable, Sendable {
        let domain: Int32
        var change: Int
    }

    /// A free record becomes that of a transaction.
    mutating func open(slot: Int, domain: Int32, generation: UInt64) {
        self.slot = slot
        self.domain = domain
        keyPrefix = domain == 0 ? 0 : TransactionRecord.digitCount(generation) + 1
    }

    private static func digitCount(_ number: UInt64) -> Int {
        var (count, rest) = (1, number / 10)
        while rest > 0 {
            count += 1
            rest /= 10
        }
        return count
    }

    /// No more is done in the transaction; what it has touched is still here.
    mutating func close() {
        slot = -1
    }

    /// Makes a closed record a free one, which keeps a little memory for the next.
    mutating func clear() {
        guard nodes.count <= TransactionRecord.searched else {
            self = TransactionRecord()
            return
        }
        while !nodes.isEmpty { nodes.removeLast() }
        while !countChanges.isEmpty { countChanges.removeLast() }
        (domain, keyPrefix, charged) = (0, 0, 0)
        (hasCreated, hasFailed) = (false, false)
    }

    var isOpen: Bool { slot >= 0 }

    func index(of place: Place) -> Int? {
        // Mostly it is the latest, and a short list is searched faster than it is hashed.
        if nodes.last?.place == place { return nodes.count - 1 }
        return nodes.count <= TransactionRecord.searched ? nodes.firstIndex { $0.place == place } : indices[place]
    }

    mutating func append(_ node: consuming TransactionNode) {
        if nodes.count == TransactionRecord.searched {
            for (index, node) in nodes.enumerated() { indices[node.place] = index }
        }
        if nodes.count >= TransactionRecord.searched { indices[node.place] = nodes.count }
        nodes.append(node)
    }

    private static var searched: Int { 16 }

    mutating func count(_ change: Int, for domain: Int32) {
        if let index = countChanges.firstIndex(where: { $0.domain == domain }) {
            countChanges[index].change += change
        } else {
            countChanges.append(CountChange(domain: domain, change: change))
        }
    }
}

/// A node as one transaction sees it: what it was at the first touch, and what the transaction made of it.
struct TransactionNode: Hashable, Sendable {
    let place: Place
    /// The stamp at the first touch; `.max` if there was no node.
    let readGeneration: UInt64
    /// The permission list at the first touch; -1 if there was no node.
    let readPermissions: Int32
    /// The value at the first touch.
    let readValue: StoreValue
    var exists: Bool
    var isModified = false
    var firing = Firing.none
    /// The node's path, where it was at hand when the transaction changed it.
    var path: String?
    var value: StoreValue
    var permissions: Int32
    var generation: UInt64
    var children: ChildView
    var listingSize: Int32
    /// What the client pays for this copy in bytes of memory.
    var charged: Int32 = 0

    enum Firing: Hashable, Sendable {
        case none
        case exact
        case full
    }
}

/// A list of children as a transaction sees it, without a copy as long as nobody else changes the list.
struct ChildView: Hashable, Sendable {
    /// Whether the list is no longer the node's own, but what was kept of it.
    private(set) var isDetached: Bool
    /// Whether the transaction removed the node, so that none of its children is left.
    private(set) var isRebuilt: Bool
    /// One element once there is anything to keep, which for most nodes is never.
    private var changes: [Changes] = []

    private struct Changes: Hashable, Sendable {
        /// The list as it was at the first touch, once somebody else is about to change it.
        var captured: [Place] = []
        /// What the transaction removed from that list.
        var removed: Set<Place> = []
        /// What it added behind.
        var added: [Place] = []
    }

    /// The node's own list; or none, of a node that is not there, or that the transaction removed.
    init(isDetached: Bool = false, isRebuilt: Bool = false) {
        self.isDetached = isDetached
        self.isRebuilt = isRebuilt
    }

    /// Whether there is anything in it but what stands in the tree.
    var isKept: Bool { !changes.isEmpty }
    var captured: [Place] { changes.first?.captured ?? [] }
    var removed: Set<Place> { changes.first?.removed ?? [] }
    var added: [Place] { changes.first?.added ?? [] }

    /// Whether it differs from the list at the first touch.
    var hasChanged: Bool { isRebuilt || !removed.isEmpty || !added.isEmpty }

    /// Whether a child is in the list; `isInOwn` says whether it is in the node's own.
    func contains(_ child: Place, isInOwn: Bool) -> Bool {
        if added.contains(child) { return true }
        return !removed.contains(child) && (isDetached ? captured.contains(child) : isInOwn)
    }

    /// Keeps the list as it is now, before somebody else changes it.
    mutating func capture(_ children: [Place]) {
        isDetached = true
        begin()
        changes[0].captured = children
    }

    mutating func add(_ child: Place) {
        begin()
        changes[0].added.append(child)
    }

    /// Takes a child out; returns whether the transaction itself had added it.
    mutating func remove(_ child: Place) -> Bool {
        begin()
        if let position = changes[0].added.firstIndex(of: child) {
            changes[0].added.remove(at: position)
            return true
        }
        changes[0].removed.insert(child)
        return false
    }

    private mutating func begin() {
        if changes.isEmpty { changes.append(Changes()) }
    }
}
