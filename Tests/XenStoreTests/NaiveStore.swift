// SPDX-License-Identifier: MIT

import XenInterface

/// A store without any cleverness: a dictionary of whole nodes, copied whole; every watch looked at for every change; a
/// transaction is a dictionary of the nodes it has touched. No quotas.
struct NaiveStore {
    struct Node: Equatable {
        var value: StoreValue
        var permissions: StorePermissions
        var children: [String]
        var stamp: Int
    }

    struct Touched {
        let path: String
        let stamp: Int?
        let permissions: StorePermissions?
        var now: Node?
        var isModified = false
        var fires: Bool?
    }

    struct Watch {
        let client: Int
        let path: String
        let spelled: String
        let token: String
    }

    var nodes: [String: Node] = [:]
    var watches: [Watch] = []
    var transactions: [Int: [UInt32: [Touched]]] = [:]
    var nextTransaction: [Int: UInt32] = [:]
    var domains: [Int: DomainID] = [:]
    var events: [Int: [StoreWatchEvent]] = [:]
    private var stamp = 0
    private var client = 0
    private var transaction: UInt32?

    init() {
        let own = StorePermissions(owner: .dom0)
        nodes["/"] = Node(value: "", permissions: own, children: ["tool"], stamp: 1)
        nodes["/tool"] = Node(value: "", permissions: own, children: ["xenstored"], stamp: 2)
        nodes["/tool/xenstored"] = Node(value: "", permissions: own, children: [], stamp: 3)
        stamp = 3
    }

    mutating func perform(_ request: StoreRequest, _ number: StoreTransactionID, client: Int) -> StoreReply {
        self.client = client
        let isWatching = if case .watch = request { true } else if case .unwatch = request { true } else { false }
        transaction = number == .none || isWatching ? nil : number.rawValue
        if let transaction, transactions[client]?[transaction] == nil { return .failure(.noEntry) }
        do throws(StoreErrorCode) {
            return try carryOut(request)
        } catch {
            return .failure(error)
        }
    }

    private mutating func carryOut(_ request: StoreRequest) throws(StoreErrorCode) -> StoreReply {
        switch request {
        case .read(let path): return .value(try get(absolute(path), 1).value)
        case .directory(let path): return .children(try get(absolute(path), 1).children)
        case .getPermissions(let path): return .permissions(try get(absolute(path), 1).permissions)
        case .write(let path, let value): try write(absolute(path), value)
        case .makeDirectory(let path): try write(absolute(path), nil)
        case .remove(let path): try remove(absolute(path))
        case .setPermissions(let path, let list): try setPermissions(absolute(path), list)
        case .watch(let path, let token, _): try watch(path, token)
        case .unwatch(let path, let token):
            let target = absolute(path)
            guard
                let index = watches.firstIndex(where: { $0.client == client && $0.path == target && $0.token == token })
            else { throw .noEntry }
            watches.remove(at: index)
        case .resetWatches:
            watches.removeAll { $0.client == client }
            transactions[client] = [:]
        case .beginTransaction:
            guard transaction == nil else { throw .busy }
            stamp += 1
            let number = nextTransaction[client, default: 1]
            nextTransaction[client] = number + 1
            transactions[client, default: [:]][number] = []
            return .transaction(StoreTransactionID(rawValue: number))
        case .endTransaction(let commit): try end(commit)
        default: throw .invalid
        }
        return .done
    }

    private func absolute(_ path: StorePath) -> String {
        path.isAbsolute ? path.text : "/local/domain/\(domains[client] ?? .dom0)/" + path.text
    }

    private func parent(_ path: String) -> String {
        let cut = path.split(separator: "/").dropLast().joined(separator: "/")
        return "/" + cut
    }

    // MARK: Nodes

    private mutating func look(_ path: String) -> Node? {
        guard let transaction else { return nodes[path] }
        if let touched = transactions[client]?[transaction]?.first(where: { $0.path == path }) { return touched.now }
        let node = nodes[path]
        transactions[client]?[transaction]?.append(
            Touched(path: path, stamp: node?.stamp, permissions: node?.permissions, now: node)
        )
        return node
    }

    private mutating func put(_ path: String, _ node: Node?) {
        stamp += 1
        var node = node
        node?.stamp = stamp
        guard let transaction, let index = transactions[client]?[transaction]?.firstIndex(where: { $0.path == path })
        else {
            nodes[path] = node
            return
        }
        transactions[client]?[transaction]?[index].now = node
        transactions[client]?[transaction]?[index].isModified = true
    }

    /// 1 read, 2 write, 8 own.
    private func rights(_ client: Int, _ list: StorePermissions) -> Int {
        let domain = domains[client] ?? .dom0
        if domain == .dom0 || domain == list.owner { return 11 }
        let access = list.access(of: domain)
        return (access.canRead ? 1 : 0) + (access.canWrite ? 2 : 0)
    }

    private mutating func get(_ path: String, _ wanted: Int) throws(StoreErrorCode) -> Node {
        var error = StoreErrorCode.noEntry
        if let node = look(path) {
            if rights(client, node.permissions) & wanted == wanted { return node }
            error = .accessDenied
        }
        var above = parent(path)
        while look(above) == nil { above = parent(above) }
        guard let node = look(above), rights(client, node.permissions) & wanted != 0 else { throw .accessDenied }
        throw error
    }

    private mutating func write(_ path: String, _ value: StoreValue?) throws(StoreErrorCode) {
        do throws(StoreErrorCode) {
            var node = try get(path, 2)
            guard let value else { return }
            node.value = value
            put(path, node)
        } catch {
            guard error == .noEntry else { throw error }
            create(path, value ?? "")
        }
        fire(path, exact: false, old: nil)
    }

    private mutating func create(_ path: String, _ value: StoreValue) {
        let above = parent(path)
        var missing = [path]
        var top = above
        while look(top) == nil {
            missing.append(top)
            top = parent(top)
        }
        guard var node = look(top) else { return }
        var list = node.permissions
        let domain = domains[client] ?? .dom0
        if domain != .dom0 { list.owner = domain }
        for (index, path) in missing.enumerated() {
            let children = index == 0 ? [] : [name(missing[index - 1])]
            put(path, Node(value: index == 0 ? value : "", permissions: list, children: children, stamp: 0))
        }
        node.children.append(name(missing[missing.count - 1]))
        put(top, node)
    }

    private func name(_ path: String) -> String {
        String(path.split(separator: "/").last ?? "")
    }

    private mutating func remove(_ path: String) throws(StoreErrorCode) {
        do throws(StoreErrorCode) {
            _ = try get(path, 2)
        } catch {
            guard error == .noEntry, look(parent(path)) != nil else { throw error }
            return
        }
        guard path != "/" else { throw .invalid }
        guard look(parent(path)) != nil else { throw .invalid }
        try removeTree(path, top: path)
        guard var above = look(parent(path)), let index = above.children.firstIndex(of: name(path)) else {
            throw .inputOutput
        }
        above.children.remove(at: index)
        put(parent(path), above)
    }

    private mutating func removeTree(_ path: String, top: String) throws(StoreErrorCode) {
        guard let node = look(path) else { throw .inputOutput }
        for child in node.children { try removeTree(path + "/" + child, top: top) }
        fire(path, exact: path != top, old: nil)
        put(path, nil)
        guard path != top, var above = look(parent(path)), let index = above.children.firstIndex(of: name(path)) else {
            return
        }
        above.children.remove(at: index)
        put(parent(path), above)
    }

    private mutating func setPermissions(_ path: String, _ list: StorePermissions) throws(StoreErrorCode) {
        var node = try get(path, 10)
        guard (domains[client] ?? .dom0) == .dom0 || list.owner == node.permissions.owner else { throw .notPermitted }
        let old = node.permissions
        node.permissions = list
        put(path, node)
        fire(path, exact: false, old: old)
    }

    // MARK: Watches

    private mutating func watch(_ path: StorePath, _ token: String) throws(StoreErrorCode) {
        let target = absolute(path)
        guard !watches.contains(where: { $0.client == client && $0.path == target && $0.token == token }) else {
            throw .exists
        }
        watches.append(Watch(client: client, path: target, spelled: path.text, token: token))
        send(StoreWatchEvent(path: path, token: token), to: client)
    }

    private mutating func send(_ event: StoreWatchEvent, to client: Int) {
        if !events[client, default: []].contains(event) { events[client, default: []].append(event) }
    }

    private mutating func fire(_ path: String, exact: Bool, old: StorePermissions?) {
        if let transaction {
            guard let index = transactions[client]?[transaction]?.firstIndex(where: { $0.path == path }) else { return }
            let before = transactions[client]?[transaction]?[index].fires
            if before == nil || !exact { transactions[client]?[transaction]?[index].fires = exact }
            return
        }
        tell(path, exact: exact, old: old)
    }

    private mutating func tell(_ path: String, exact: Bool, old: StorePermissions?) {
        for watch in watches {
            let isBelow = watch.path == "/" || path.hasPrefix(watch.path + "/")
            guard path == watch.path || (isBelow && !exact) else { continue }
            let lists = [nodes[path]?.permissions, nodes[path] == nil ? nil : nodes[parent(path)]?.permissions, old]
            guard lists.contains(where: { $0.map { rights(watch.client, $0) & 1 == 1 } ?? false }) else { continue }
            let shown = watch.spelled + path.dropFirst(watch.path == "/" ? 1 : watch.path.utf8.count)
            if let shown = StorePath(shown) { send(StoreWatchEvent(path: shown, token: watch.token), to: watch.client) }
        }
    }

    // MARK: Transactions

    private mutating func end(_ commit: Bool) throws(StoreErrorCode) {
        guard let number = transaction, let touched = transactions[client]?.removeValue(forKey: number) else {
            throw .noEntry
        }
        transaction = nil
        guard commit else { return }
        for node in touched where nodes[node.path]?.stamp != node.stamp { throw .again }
        for node in touched where node.isModified {
            var now = node.now
            if now != nil {
                stamp += 1
                now?.stamp = stamp
            }
            nodes[node.path] = now
            if let exact = node.fires { tell(node.path, exact: exact, old: node.permissions) }
        }
    }
}
