// SPDX-License-Identifier: MIT

public import XenInterface

/// A xenstore, as a value: the tree, its watches, the transactions and connections of its clients.
///
/// The C counterpart is `xenstored`; behaviour is that of version 4.17 unless `rules` say otherwise. There is no I/O and no clock:
/// requests go in, replies and watch events come out through a sink, in the order in which xenstored sends them.
/// What is not here because it needs a clock: the limit on a guest's rate of writes (D42). It delays a guest's requests, by
/// some milliseconds and only while transactions are open, and changes no answer: whoever serves a ring may read it later.
///
/// ```swift
/// var store = StoreServer()
/// let toolstack = store.connect(as: .dom0)
/// var outputs: [StoreOutput] = []
/// store.perform(.write(path, "hello"), on: toolstack, into: &outputs)
/// ```
public struct StoreServer: Hashable, Sendable {
    /// Where stores differ.
    public let rules: StoreRules
    var tree = StoreTree()
    var permissions = PermissionTable()
    /// The stamp of the last write, and of the last transaction's start.
    var generation: UInt64 = 0
    var connections: [ConnectionRecord?] = []
    var nextSerial: UInt32 = 1
    var domains: [UInt32: DomainRecord] = [:]
    var tallies = [DomainTally(since: 0)]
    var transactions: [TransactionRecord] = []
    var watches: [WatchRecord] = []
    /// Their tokens; nil where there is no watch.
    var watchTokens: [StoreToken?] = []
    var freeWatches: [Int32] = []
    var nextWatchSerial: UInt64 = 1
    /// Watches of names that begin with `@`, in the order of their making.
    var specialWatches: [SpecialWatch] = []
    var specialPermissions: [String: Int32] = [:]
    var existence: StoreDomainExistence
    var announced: Set<UInt32> = [0]
    /// What each domain takes of memory, by its number.
    var memories: [Int] = []
    /// The quotas of domains that have their own.
    var ownQuotas: [Int32: StoreQuotas] = [:]
    /// The quotas of all others.
    var quotas: StoreQuotas
    /// What was put out since the last drain, in its order.
    var outbox: [Outgoing] = []
    /// What of it is no event, in its order.
    var outputs: [StoreOutput] = []
    /// The events in it, in their order, and how many of them it speaks of yet.
    var events: [StoreEvent] = []
    var announcedEvents = 0
    /// The watches that the change at hand fires; none between two changes.
    var fired: [FiredWatch] = []
    /// How many of the next commits fail with `EAGAIN` though nothing conflicts, as oxenstored's `test-eagain` makes
    /// them at random (D43). The caller draws the lots.
    public var commitsToRefuse = 0

    /// Makes a store that holds what xenstored makes at its start: `/`, `/tool` and `/tool/xenstored` (D26).
    public init(rules: StoreRules = StoreRules(), existence: StoreDomainExistence = .every) {
        self.rules = rules
        quotas = rules.quotas
        self.existence = existence
        domains[0] = DomainRecord(number: 0, isIntroduced: true)
        let own = permissions.intern([PermissionEntry(domain: 0, access: .none)])
        let anybody = PermissionEntry(domain: StoreServer.anyDomain, access: .read)
        let special = [PermissionEntry(domain: 0, access: .none)] + (rules.knowsAnyDomain ? [anybody] : [])
        for name in ["@introduceDomain", "@releaseDomain"] { specialPermissions[name] = permissions.intern(special) }
        for path in ["/", "/tool", "/tool/xenstored"] {
            generation += 1
            let place = tree.intern(path)
            put(place, value: StoreValue(), permissions: own, generation: generation)
            if place != StoreTree.root { tree.list(place) }
        }
        permissions.release(own)
        count(nodes: 3, of: 0)
    }

    /// `DOMID_ANY`.
    static let anyDomain: Int32 = 0x7FF5

    /// How many nodes there are, the root included.
    public var nodeCount: Int { tree.nodeCount }

    /// How many watches are registered.
    public var watchCount: Int { watches.count - freeWatches.count }

    /// How many transactions are open.
    public var transactionCount: Int { transactions.count(where: \.isOpen) }

    /// The connections, in the order in which they were made.
    public var connectionIDs: [StoreConnectionID] { connections.compactMap { $0?.id }.sorted() }

    /// Adds a client.
    ///
    /// A connection of dom0 is what a socket is: it may do all and has no quotas. A connection of another domain is what a
    /// program has behind the guest's own ring: it has the domain's rights, relative paths and quotas. The domain need
    /// not be introduced; `INTRODUCE` makes a connection of its own for the ring.
    public mutating func connect(as domain: DomainID) -> StoreConnectionID {
        if domain != .dom0 { makeDomain(UInt32(domain.rawValue)) }
        return addConnection(of: domain)
    }

    /// Removes a client, with its watches and open transactions. Nothing happens if it is gone already.
    public mutating func disconnect(_ id: StoreConnectionID) {
        guard let slot = slot(of: id) else { return }
        removeConnection(slot)
    }

    /// Drops the watches and open transactions of a connection that is no longer listened to, as of a guest that broke its
    /// ring; the connection stays until its domain is released or introduced again (D47).
    public mutating func ignore(_ id: StoreConnectionID) {
        guard let slot = slot(of: id) else { return }
        removeWatches(of: slot)
        removeTransactions(of: slot)
    }

    /// The domain that a connection belongs to; nil if the connection is gone.
    public func domain(of id: StoreConnectionID) -> DomainID? {
        slot(of: id).flatMap { connections[$0]?.domain }
    }

    // MARK: Connections

    mutating func addConnection(of domain: DomainID) -> StoreConnectionID {
        let free = connections.firstIndex { $0 == nil }
        let slot = free ?? connections.count
        let id = StoreConnectionID(serial: nextSerial, slot: UInt32(slot))
        nextSerial += 1
        var record = ConnectionRecord(id: id, domain: domain)
        record.target = domains[UInt32(domain.rawValue)]?.target ?? Caller.noTarget
        if free == nil {
            connections.append(record)
        } else {
            connections[slot] = record
        }
        return id
    }

    func slot(of id: StoreConnectionID) -> Int? {
        let slot = Int(id.slot)
        guard slot < connections.count, connections[slot]?.id == id else { return nil }
        return slot
    }

    mutating func removeConnection(_ slot: Int) {
        removeWatches(of: slot)
        removeTransactions(of: slot)
        connections[slot] = nil
    }

    /// The caller that a connection is outside of any transaction.
    @inline(__always)
    func caller(_ slot: Int) -> Caller? {
        guard let domain = connections[slot]?.domain, let target = connections[slot]?.target else { return nil }
        return Caller(slot: slot, domain: Int32(domain.rawValue), target: target, transaction: nil)
    }

    // MARK: Output

    /// Puts out what is no event.
    mutating func put(out output: StoreOutput) {
        put(out: output, at: (outbox.count, outputs.count))
    }

    /// Puts out what is no event before what was put out since there were so many.
    mutating func put(out output: StoreOutput, at mark: (all: Int, outputs: Int)) {
        outbox.insert(Outgoing(), at: mark.all)
        outputs.insert(output, at: mark.outputs)
    }

    /// Hands over what was put out.
    mutating func drain(into sink: inout some StoreOutputSink & ~Copyable) {
        guard !outbox.isEmpty else { return }
        var (output, event) = (0, 0)
        for index in outbox.indices {
            let next = outbox[index]
            if let connection = next.connection {
                sink.append(contentsOf: events.span.extracting(event..<(event + next.eventCount)), to: connection)
                event += next.eventCount
            } else {
                sink.append(outputs[output])
                output += 1
            }
        }
        // Item by item where there are few, as mostly: `removeAll` costs far more then.
        guard events.count <= 16, outbox.count <= 16 else {
            outbox.removeAll(keepingCapacity: true)
            outputs.removeAll(keepingCapacity: true)
            events.removeAll(keepingCapacity: true)
            announcedEvents = 0
            return
        }
        while !outbox.isEmpty { outbox.removeLast() }
        while !outputs.isEmpty { outputs.removeLast() }
        while !events.isEmpty { events.removeLast() }
        announcedEvents = 0
    }

    // MARK: Nodes as they are

    /// Makes a node in the place or writes over it; does not list it.
    mutating func put(_ place: Place, value: StoreValue, permissions list: Int32, generation: UInt64) {
        let entry = Int(place)
        if !tree.entries[entry].exists { tree.nodeCount += 1 }
        let old = tree.entries[entry].permissions
        let payer = old >= 0 ? permissions.owner(old) : 0
        if old != list {
            permissions.retain(list)
            if old >= 0 { permissions.release(old) }
        }
        tree.entries[entry].value = value
        tree.entries[entry].permissions = list
        tree.entries[entry].generation = generation
        recharge(place, from: payer)
    }

    /// Takes the node away; the entry stays while something refers to it.
    mutating func erase(_ place: Place) {
        let entry = Int(place)
        guard tree.entries[entry].exists else { return }
        let list = tree.entries[entry].permissions
        let payer = permissions.owner(list)
        tree.entries[entry].permissions = -1
        recharge(place, from: payer)
        permissions.release(list)
        tree.entries[entry].value = StoreValue()
        tree.entries[entry].generation = .max
        tree.nodeCount -= 1
    }
}

/// Who asks, and in which transaction.
struct Caller {
    let slot: Int
    let domain: Int32
    /// The domain whose rights the caller has as well (D10), or `noTarget`.
    let target: Int32
    /// The index of the transaction.
    let transaction: Int?

    /// A number that stands in no permission list.
    static let noTarget = Int32.min

    /// dom0 and sockets: all rights, no quotas.
    var isPrivileged: Bool { domain == 0 }
}

/// A client.
struct ConnectionRecord: Hashable, Sendable {
    let id: StoreConnectionID
    let domain: DomainID
    /// What goes before the client's relative paths (D9).
    let home: String
    /// The watches, in no order.
    var watches: [Int32] = []
    var transactions: [OpenTransaction] = []
    var nextTransaction: UInt32 = 1
    /// The domain whose rights the client has as well, or `Caller.noTarget`.
    var target = Caller.noTarget

    struct OpenTransaction: Hashable, Sendable {
        let id: UInt32
        let index: Int
    }

    init(id: StoreConnectionID, domain: DomainID) {
        self.id = id
        self.domain = domain
        home = StorePath.domain(domain).text + "/"
    }

    /// A number that no open transaction has (D36).
    mutating func takeTransactionNumber() -> UInt32 {
        var id = nextTransaction
        while id == 0 || index(of: id) != nil { id &+= 1 }
        nextTransaction = id &+ 1
        return id
    }

    /// The transaction of the store's that has this index is over.
    mutating func removeTransaction(_ index: Int) {
        if transactions.last?.index == index {
            transactions.removeLast()
        } else {
            transactions.removeAll { $0.index == index }
        }
    }

    func index(of transaction: UInt32) -> Int? {
        transactions.first { $0.id == transaction }?.index
    }
}
