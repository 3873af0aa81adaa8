// SPDX-License-Identifier: MIT

public import XenInterface

// What each domain takes of the store's memory, and how much it may (D41): its nodes, with their paths; copies of nodes
// in its open transactions; its watches. What waits to be sent to a guest counts where it waits.
extension StoreServer {
    /// The bytes of the store's memory that count for a domain; none for domain 0.
    public func memory(of domain: DomainID) -> Int {
        memory(of: Int32(domain.rawValue))
    }

    /// Whether a guest's requests are to be left in its ring: its memory is used up, until others remove what is its own.
    ///
    /// xenstored says "Xenstore interface to domain stalled" then.
    public func isStalled(_ id: StoreConnectionID) -> Bool {
        guard let domain = domain(of: id), domain != .dom0 else { return false }
        return !mayTake(0, Int32(domain.rawValue))
    }

    /// Whether a domain may take `bytes` more; some of what it has is given back for it.
    func mayTake(_ bytes: Int, _ number: Int32, instead given: Int = 0) -> Bool {
        let quota = quotas(of: number).memory
        return number <= 0 || quota == 0 || memory(of: number) - given + bytes < quota
    }

    func memory(of number: Int32) -> Int {
        number > 0 && number < memories.count ? memories[Int(number)] : 0
    }

    mutating func charge(_ bytes: Int, _ number: Int32) {
        guard bytes != 0, number > 0, number < DomainID.firstReserved.rawValue else { return }
        while memories.count <= number { memories.append(0) }
        memories[Int(number)] += bytes
    }

    // MARK: Nodes

    /// What a node takes by the rules of the size quota: `struct xs_tdb_record_hdr`, the permissions, the value, the children's names.
    func nodeSize(_ permissions: Int, _ content: Int) -> Int {
        24 + 8 * permissions + content
    }

    /// Who pays for a node that the caller writes, what it pays for the node now, and what it pays for the path besides.
    private func price(_ place: Place, owner: Int32, _ caller: Caller) -> (payer: Int32, now: Int, path: Int) {
        let path = Int(tree.keys[Int(place)].length)
        guard let transaction = caller.transaction else {
            let entry = tree.entries[Int(place)]
            let isOwn = entry.exists && permissions.owner(entry.permissions) == owner
            return (owner, isOwn ? Int(entry.charged) : 0, max(1, path))
        }
        let record = transactions[transaction]
        let now = record.index(of: place).map { Int(record.nodes[$0].charged) } ?? 0
        return (caller.domain, now, record.keyPrefix + max(1, path))
    }

    /// Whether memory allows the caller to write a node of a size; `added` is what it is about to take besides.
    func hasRoom(for size: Int, at place: Place, owner: Int32, added: Int = 0, _ caller: Caller) -> Bool {
        if owner <= 0, caller.domain == 0 { return true }
        let price = price(place, owner: owner, caller)
        return mayTake(size + price.path + added, price.payer, instead: price.now)
    }

    /// What writing a new node of a size takes, path included.
    func cost(of size: Int, at place: Place, _ caller: Caller) -> Int {
        size + price(place, owner: 0, caller).path
    }

    /// Makes the owner pay for a node as it is now; `payer` paid for it before.
    mutating func recharge(_ place: Place, from payer: Int32) {
        let entry = tree.entries[Int(place)]
        let owner = entry.exists ? permissions.owner(entry.permissions) : 0
        guard owner > 0 || entry.charged > 0 else { return }
        charge(-Int(entry.charged), payer)
        var size = 0
        if owner > 0 {
            size = nodeSize(permissions.count(entry.permissions), entry.value.count + Int(entry.listingSize))
            size += max(1, Int(tree.keys[Int(place)].length))
        }
        charge(size, owner)
        tree.entries[Int(place)].charged = Int32(size)
    }

    /// Makes the client of a transaction pay for its copy of a node as that is now.
    mutating func recharge(transaction: Int, _ index: Int) {
        guard transactions[transaction].domain > 0 else { return }
        let record = transactions[transaction]
        let node = record.nodes[index]
        var size = 0
        if node.exists {
            size = nodeSize(permissions.count(node.permissions), node.value.count + Int(node.listingSize))
            size += record.keyPrefix + max(1, Int(tree.keys[Int(node.place)].length))
        }
        charge(size - Int(node.charged), record.domain)
        transactions[transaction].charged += size - Int(node.charged)
        transactions[transaction].nodes[index].charged = Int32(size)
    }

    /// Makes whoever pays for a node pay for it as it is now, after its list of children has changed.
    mutating func recharge(_ place: Place, _ caller: Caller) {
        if let transaction = caller.transaction, let index = transactions[transaction].index(of: place) {
            recharge(transaction: transaction, index)
        } else {
            recharge(place, from: permissions.owner(tree.entries[Int(place)].permissions))
        }
    }
}
