// SPDX-License-Identifier: MIT

import Testing
import XenBus
import XenInterface

/// As much of a store as a toolstack's script needs: a tree in which new nodes take their parent's permissions (D12), without transactions.
struct ScriptStore: StoreConnection {
    struct Node: Equatable {
        var value: StoreValue = ""
        var permissions: StorePermissions
        var children: [String] = []
    }

    var nodes: [StorePath: Node] = [.root: Node(permissions: StorePermissions(owner: .dom0))]

    /// Carries out a script, and reports errors that it does not tolerate.
    mutating func run(_ steps: [StoreStep], sourceLocation: SourceLocation = #_sourceLocation) {
        for step in steps {
            guard case .failure(let error) = perform(step.request, in: .none) else { continue }
            #expect(step.tolerated.contains(error), "\(step.request)", sourceLocation: sourceLocation)
        }
    }

    mutating func perform(_ request: StoreRequest, in transaction: StoreTransactionID) -> StoreReply {
        switch request {
        case .read(let path): nodes[path].map { .value($0.value) } ?? .failure(.noEntry)
        case .directory(let path): nodes[path].map { .children($0.children) } ?? .failure(.noEntry)
        case .getPermissions(let path): nodes[path].map { .permissions($0.permissions) } ?? .failure(.noEntry)
        case .write(let path, let value): change(path, orMake: true) { $0.value = value }
        case .makeDirectory(let path): change(path, orMake: true) { _ in }
        case .setPermissions(let path, let permissions): change(path, orMake: false) { $0.permissions = permissions }
        case .remove(let path): remove(path)
        case .directoryPart, .watch, .unwatch, .resetWatches, .beginTransaction, .endTransaction, .introduce, .release,
            .resume, .setTarget, .isIntroduced, .domainPath:
            .failure(.notImplemented)
        }
    }

    mutating func nextWatchEvent() -> StoreWatchEvent? { nil }

    /// The nodes below a path, as `xenstore-ls -fp` prints them.
    func listing(below root: StorePath) -> [String: String] {
        var lines: [String: String] = [:]
        for (path, node) in nodes where path == root || path.relative(to: root) != nil {
            lines[path.text] = "\"\(node.value.text)\"   (\(node.permissions))"
        }
        return lines
    }

    private mutating func change(_ path: StorePath, orMake: Bool, _ body: (inout Node) -> Void) -> StoreReply {
        if nodes[path] == nil {
            guard orMake else { return .failure(.noEntry) }
            make(path)
        }
        if var node = nodes[path] {
            body(&node)
            nodes[path] = node
        }
        return .done
    }

    private mutating func make(_ path: StorePath) {
        guard nodes[path] == nil, let parent = path.parent else { return }
        make(parent)
        nodes[parent]?.children.append(String(path.lastComponent))
        nodes[path] = nodes[parent].map { Node(permissions: $0.permissions) }
    }

    private mutating func remove(_ path: StorePath) -> StoreReply {
        guard let parent = path.parent, nodes[parent] != nil else { return .failure(.noEntry) }
        for other in nodes.keys where other == path || other.relative(to: path) != nil { nodes[other] = nil }
        nodes[parent]?.children.removeAll { $0 == path.lastComponent }
        return .done
    }
}

extension ScriptStore {
    /// Makes the nodes of a listing that `xenstore-ls -fp` printed.
    init(dump lines: [String]) throws {
        for line in lines where line.hasPrefix("/") {
            let (path, value, permissions) = try #require(dumpedNode(line), "\(line)")
            _ = change(path, orMake: true) {
                $0.value = value
                $0.permissions = permissions
            }
        }
    }
}

/// Takes a line of `xenstore-ls -fp` apart: `/path = "value"   (n0,r1)`.
func dumpedNode(_ line: String) -> (StorePath, StoreValue, StorePermissions)? {
    guard let equals = line.firstRange(of: " = \""), let end = line.lastIndex(of: "\""),
        let open = line.lastIndex(of: "("), let close = line.lastIndex(of: ")"), end < open, open < close,
        let path = StorePath(line[..<equals.lowerBound])
    else { return nil }
    let entries = line[line.index(after: open)..<close].split(separator: ",").map { StorePermissions.Entry(wire: $0) }
    guard let first = entries.first, let owner = first, !entries.contains(nil) else { return nil }
    let others = entries.dropFirst().compactMap { $0 }
    return (
        path, StoreValue(line[equals.upperBound..<end]),
        StorePermissions(owner: owner.domain, others: owner.access, others)
    )
}
