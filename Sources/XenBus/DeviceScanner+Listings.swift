// SPDX-License-Identifier: MIT

import XenInterface

// How a scanner takes the store's answers to its listings.
extension DeviceScanner {
    func directory(of listing: Listing) -> StorePath {
        switch listing {
        case .guests: root
        case .devices(let domain): guest == nil ? root.appending(domain.description) : root
        }
    }

    mutating func finish(_ reply: StoreReply, into actions: inout ActionList<Action>) {
        let done = task
        task = nil
        switch done {
        case .listing(let listing):
            if reply == .failure(.tooBig) {
                list(listing, names: [], offset: 0, generation: nil, into: &actions)
            } else {
                finish(listing, reply, names: reply.childNames, into: &actions)
            }
        case .listingPart(let listing, let names, let offset, let generation):
            collect(reply, listing, names, offset, generation, into: &actions)
        case .watching:
            if case .failure(let code) = reply { refuse(.watching, root, code, into: &actions) }
        case .unwatching:
            actions.append(.finished)
        case nil:
            break
        }
    }

    /// Reports a refusal, not without end, and asks again after a while: what is not seen now would never be served.
    private mutating func refuse(
        _ task: Task,
        _ node: StorePath,
        _ code: StoreErrorCode,
        into actions: inout ActionList<Action>
    ) {
        if reports.admits() { actions.append(.report(DeviceDiagnostic(node, .refused(code)))) }
        guard !isStopping else { return }
        if refused.isEmpty { actions.append(.startTimer(DeviceScanner.retryInterval)) }
        if !refused.contains(task) { refused.append(task) }
    }

    /// Asks again for what was refused.
    mutating func retry() {
        for task in refused {
            switch task {
            case .watching: mustWatch = true
            case .listing(let listing): enqueue(listing)
            case .listingPart, .unwatching: break
            }
        }
        refused.removeAll()
    }

    private mutating func finish(
        _ listing: Listing,
        _ reply: StoreReply,
        names: [String],
        into actions: inout ActionList<Action>
    ) {
        // What is found once nobody wants it any more would never be ended.
        guard !isStopping else { return }
        if case .failure(let code) = reply, code != .noEntry {
            refuse(.listing(listing), directory(of: listing), code, into: &actions)
        } else {
            compare(listing, with: names, into: &actions)
        }
    }

    private mutating func list(
        _ listing: Listing,
        names: [String],
        offset: UInt32,
        generation: UInt64?,
        into actions: inout ActionList<Action>
    ) {
        task = .listingPart(listing, names: names, offset: offset, generation: generation)
        actions.append(.store(.directoryPart(directory(of: listing), offset: offset), in: .none))
    }

    /// Takes a part of a long listing; one that changed meanwhile is begun again, after whatever waits (D20).
    private mutating func collect(
        _ reply: StoreReply,
        _ listing: Listing,
        _ names: [String],
        _ offset: UInt32,
        _ generation: UInt64?,
        into actions: inout ActionList<Action>
    ) {
        guard case .part(let found, let children, let isLast) = reply else {
            return finish(listing, reply, names: [], into: &actions)
        }
        let length = children.reduce(UInt32(0)) { $0 &+ UInt32(truncatingIfNeeded: $1.utf8.count) &+ 1 }
        if found != generation ?? found {
            enqueue(listing)
        } else if isLast {
            finish(listing, reply, names: names + children, into: &actions)
        } else if length == 0 || offset > DeviceScanner.longestListing {
            // A store that never comes to an end.
            refuse(.listing(listing), directory(of: listing), .tooBig, into: &actions)
        } else {
            list(listing, names: names + children, offset: offset &+ length, generation: found, into: &actions)
        }
    }

    /// Where a listing in parts is given up, in bytes: no directory has a million devices.
    private static let longestListing: UInt32 = 1 << 24

    private mutating func compare(
        _ listing: Listing,
        with names: [String],
        into actions: inout ActionList<Action>
    ) {
        switch listing {
        case .guests:
            let domains = names.compactMap(DevicePaths.domain(named:))
            let lost = Set(known.keys.map { $0.frontend }).subtracting(domains)
            for domain in domains + lost.sorted(by: { $0.rawValue < $1.rawValue }) {
                enqueue(.devices(of: domain))
            }
        case .devices(let domain):
            let found = names.compactMap(DevicePaths.device(named:)).map {
                DeviceKey(frontend: domain, device: $0)
            }
            let there = Set(found)
            let lost = known.keys.filter { $0.frontend == domain && !there.contains($0) }
            for key in lost.sorted(by: { $0.device.rawValue < $1.device.rawValue }) {
                switch known[key] {
                case .running, .leaving:
                    // Said again to a machine that meanwhile took up a directory made anew.
                    known[key] = .leaving
                    actions.append(.vanished(key))
                case .ended, nil: known[key] = nil
                }
            }
            for key in found where known[key] == nil {
                known[key] = .running
                actions.append(.appeared(key))
            }
        }
    }
}
