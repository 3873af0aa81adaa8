// SPDX-License-Identifier: MIT

import Testing
import XenHypervisor
import XenInterface

/// The same rules, written as plainly as possible: linear searches over small lists, no bitmaps, no free lists.
private struct Model {
    struct Port: Equatable {
        var domain: UInt16
        var number: UInt32
        var state: EventChannelState
        var isPending = false
        var isMasked = false
    }

    struct Grant: Equatable {
        var domain: UInt16
        var reference: UInt32
        var grantee: UInt16
        var frame: UInt64
        var isReadOnly: Bool
    }

    let maximumPort: UInt32
    var alive: Set<UInt16> = [0]
    var ports: [Port] = []
    var grants: [Grant] = []
    var mappings: [GrantMapping] = []

    func isZombie(_ domain: UInt16) -> Bool {
        !alive.contains(domain) && mappings.contains { $0.owner.rawValue == domain }
    }

    func index(_ domain: UInt16, _ number: UInt32) -> Int? {
        ports.firstIndex { $0.domain == domain && $0.number == number }
    }

    func lowestFree(_ domain: UInt16) -> UInt32? {
        (1...maximumPort).first { index(domain, $0) == nil }
    }

    mutating func allocate(_ domain: UInt16, _ state: EventChannelState) throws(EventChannelError) -> UInt32 {
        guard let number = lowestFree(domain) else { throw .noFreePort }
        ports.append(Port(domain: domain, number: number, state: state))
        return number
    }

    mutating func bind(_ domain: UInt16, _ remote: UInt16, _ port: UInt32) throws(EventChannelError) -> UInt32 {
        guard alive.contains(domain) else { throw .noSuchDomain(DomainID(domain)) }
        guard alive.contains(remote) || isZombie(remote) else { throw .noSuchDomain(DomainID(remote)) }
        guard lowestFree(domain) != nil else { throw .noFreePort }
        guard let peer = index(remote, port), ports[peer].state == .unbound(DomainID(domain)) else {
            throw .invalidPort(EventChannelPort(port))
        }
        let local = try allocate(domain, .interdomain(DomainID(remote), EventChannelPort(port)))
        ports[peer].state = .interdomain(DomainID(domain), EventChannelPort(local))
        if let own = index(domain, local) { ports[own].isPending = true }
        return local
    }

    func find(_ domain: UInt16, _ port: UInt32) throws(EventChannelError) -> Int {
        guard alive.contains(domain) else { throw .noSuchDomain(DomainID(domain)) }
        guard let index = index(domain, port) else { throw .invalidPort(EventChannelPort(port)) }
        return index
    }

    /// Whether the peer gets an upcall.
    mutating func send(_ domain: UInt16, _ port: UInt32) throws(EventChannelError) -> Bool {
        let index = try find(domain, port)
        guard case .interdomain(let remote, let remotePort) = ports[index].state,
            let peer = self.index(remote.rawValue, remotePort.rawValue), !ports[peer].isPending
        else { return false }
        ports[peer].isPending = true
        return !ports[peer].isMasked
    }

    mutating func close(_ domain: UInt16, _ port: UInt32) throws(EventChannelError) {
        let index = try find(domain, port)
        if case .interdomain(let remote, let remotePort) = ports[index].state,
            let peer = self.index(remote.rawValue, remotePort.rawValue)
        {
            ports[peer].state = .unbound(DomainID(domain))
        }
        ports.remove(at: index)
    }

    func ready(_ domain: UInt16) -> [UInt32] {
        ports.filter { $0.domain == domain && $0.isPending && !$0.isMasked }.map(\.number).sorted()
    }

    func grant(_ domain: UInt16, _ reference: UInt32) -> Grant? {
        grants.first { $0.domain == domain && $0.reference == reference }
    }

    func isMapped(_ grant: Grant) -> Bool {
        mappings.contains { $0.owner.rawValue == grant.domain && $0.reference.rawValue == grant.reference }
    }

    func mapError(_ reference: UInt32, of owner: UInt16, readOnly: Bool, by domain: UInt16) -> GrantError? {
        if !alive.contains(domain) { return .badDomain(DomainID(domain)) }
        if !alive.contains(owner) { return .badDomain(DomainID(owner)) }
        if reference >= 512 { return .badReference(GrantReference(reference)) }
        guard let grant = grant(owner, reference), grant.grantee == domain, readOnly || !grant.isReadOnly else {
            return .notGranted(GrantReference(reference))
        }
        return nil
    }

    /// The page that goes with a mapping, if it was the last of a dead domain's.
    mutating func unmap(_ mapping: GrantMapping) -> ReleasedPage? {
        mappings.removeAll { $0 == mapping }
        let isHeld = mappings.contains { $0.owner == mapping.owner && $0.frame == mapping.frame }
        let isDead = !alive.contains(mapping.owner.rawValue)
        return isDead && !isHeld ? ReleasedPage(domain: mapping.owner, frame: mapping.frame) : nil
    }

    mutating func destroy(_ domain: UInt16) {
        for port in ports where port.domain == domain { try? close(domain, port.number) }
        mappings.removeAll { $0.mapper.rawValue == domain }
        alive.remove(domain)
        grants.removeAll { $0.domain == domain }
    }
}

/// A hypervisor and its model, driven together.
private struct Pair {
    var hypervisor: Hypervisor
    var model: Model
    var random: SplitMix
    var stale: [GrantMapping] = []
    var log: [String] = []

    init(seed: UInt64) {
        let limits = DomainLimits(maximumPort: 5)
        hypervisor = Hypervisor(limits: limits)
        model = Model(maximumPort: 5)
        random = SplitMix(seed: seed)
    }

    mutating func domain() -> UInt16 { UInt16(random.below(4)) }
    mutating func port() -> UInt32 { UInt32(random.below(7)) }

    /// One operation; half of the time with arguments that can succeed.
    mutating func step() {
        let isLikely = random.below(2) == 0
        switch random.below(20) {
        case 0: create(domain())
        case 1: if random.below(3) == 0 { destroy(domain()) }
        case 2: allocate(domain(), domain())
        case 3...6: isLikely ? bindLikely() : bind(domain(), domain(), port())
        case 7...9: isLikely ? onOpenPort { $0.send($1, $2) } : send(domain(), port())
        case 10: isLikely ? onOpenPort { $0.close($1, $2) } : close(domain(), port())
        case 11, 12:
            let isMasked = random.below(2) == 0
            isLikely ? onOpenPort { $0.mask($1, $2, isMasked) } : mask(domain(), port(), isMasked)
        case 13: deliver(domain())
        case 14, 15: grant(domain(), domain(), UInt64(random.below(3)), random.below(2) == 0)
        case 16: endAccess(domain(), UInt32(8 + random.below(6)))
        case 17, 18: isLikely ? mapLikely() : map(domain(), domain(), UInt32(7 + random.below(6)), random.below(2) == 0)
        default: unmap()
        }
    }

    mutating func onOpenPort(_ body: (inout Pair, UInt16, UInt32) -> Void) {
        guard !model.ports.isEmpty else { return }
        let port = model.ports[random.below(model.ports.count)]
        body(&self, port.domain, port.number)
    }

    mutating func bindLikely() {
        onOpenPort { pair, domain, number in
            guard let index = pair.model.index(domain, number), case .unbound(let peer) = pair.model.ports[index].state
            else { return }
            pair.bind(peer.rawValue, domain, number)
        }
    }

    mutating func mapLikely() {
        guard !model.grants.isEmpty else { return }
        let grant = model.grants[random.below(model.grants.count)]
        map(grant.domain, grant.grantee, grant.reference, random.below(2) == 0)
    }

    mutating func create(_ domain: UInt16) {
        log.append("create \(domain)")
        let isFree = !model.alive.contains(domain) && !model.isZombie(domain)
        let limits = DomainLimits(maximumPort: 5)
        let result = Result { () throws(DomainError) in try hypervisor.createDomain(DomainID(domain), limits: limits) }
        expect((try? result.get()) != nil, isFree)
        if isFree { model.alive.insert(domain) }
    }

    mutating func destroy(_ domain: UInt16) {
        guard domain != 0, model.alive.contains(domain) else { return }
        log.append("destroy \(domain)")
        let own = model.mappings.filter { $0.mapper.rawValue == domain }
        model.destroy(domain)
        stale += own
        let held = Set(model.mappings.filter { $0.owner.rawValue == domain }.map(\.frame.rawValue)).sorted()
        var pages: Set<ReleasedPage> = []
        for mapping in own where mapping.owner.rawValue != domain && !model.alive.contains(mapping.owner.rawValue) {
            let isHeld = model.mappings.contains { $0.owner == mapping.owner && $0.frame == mapping.frame }
            if !isHeld { pages.insert(ReleasedPage(domain: mapping.owner, frame: mapping.frame)) }
        }
        let remains = try? hypervisor.destroyDomain(DomainID(domain))
        expect(remains?.heldFrames.map(\.rawValue), held)
        expect(remains.map { Set($0.released) }, pages)
        expect(remains?.released.count, pages.count)
    }

    mutating func allocate(_ domain: UInt16, _ remote: UInt16) {
        log.append("allocate \(domain) for \(remote)")
        let expected = Result { () throws(EventChannelError) in
            guard model.alive.contains(domain) else { throw .noSuchDomain(DomainID(domain)) }
            return try model.allocate(domain, .unbound(DomainID(remote)))
        }
        let result = Result { () throws(EventChannelError) in
            try hypervisor.allocateUnbound(in: DomainID(domain), for: DomainID(remote)).rawValue
        }
        expect(result, expected)
    }

    mutating func bind(_ domain: UInt16, _ remote: UInt16, _ port: UInt32) {
        log.append("bind \(domain) to \(remote):\(port)")
        let expected = Result { () throws(EventChannelError) in try model.bind(domain, remote, port) }
        let result = Result { () throws(EventChannelError) in
            try hypervisor.bindInterdomain(
                in: DomainID(domain),
                remote: DomainID(remote),
                port: EventChannelPort(port)
            ).rawValue
        }
        expect(result, expected)
    }

    mutating func send(_ domain: UInt16, _ port: UInt32) {
        log.append("send \(domain):\(port)")
        let idle = (0..<4).map { model.ready($0).isEmpty }
        let expected = Result { () throws(EventChannelError) in try model.send(domain, port) }
        let result = Result { () throws(EventChannelError) in
            try hypervisor.send(EventChannelPort(port), from: DomainID(domain))
        }
        expect(result.map { $0 != nil }, expected)
        guard case .success(let upcall?) = result else { return }
        expect(upcall.isFirst, idle[Int(upcall.domain.rawValue)])
        expect(model.ready(upcall.domain.rawValue).contains(upcall.port.rawValue), true)
    }

    mutating func close(_ domain: UInt16, _ port: UInt32) {
        log.append("close \(domain):\(port)")
        let expected = Result { () throws(EventChannelError) in try model.close(domain, port) }
        let result = Result { () throws(EventChannelError) in
            try hypervisor.close(EventChannelPort(port), of: DomainID(domain))
        }
        expect(result.map { 0 }, expected.map { 0 })
    }

    mutating func mask(_ domain: UInt16, _ port: UInt32, _ isMasked: Bool) {
        log.append("\(isMasked ? "mask" : "unmask") \(domain):\(port)")
        let expected = Result { () throws(EventChannelError) in
            let index = try model.find(domain, port)
            let wasReady = model.ports[index].isPending && !model.ports[index].isMasked
            model.ports[index].isMasked = isMasked
            return !isMasked && model.ports[index].isPending && !wasReady
        }
        let result = Result { () throws(EventChannelError) in
            if isMasked {
                try hypervisor.mask(EventChannelPort(port), of: DomainID(domain))
                return false
            }
            return try hypervisor.unmask(EventChannelPort(port), of: DomainID(domain)) != nil
        }
        expect(result, expected)
    }

    /// Takes all that is ready: exactly the model's ports, each once.
    mutating func deliver(_ domain: UInt16) {
        log.append("deliver \(domain)")
        let ready = model.ready(domain)
        let taken = ready.map { _ in hypervisor.nextPending(of: DomainID(domain))?.rawValue ?? 0 }
        expect(taken.sorted(), ready)
        expect(hypervisor.nextPending(of: DomainID(domain)), nil)
        for index in model.ports.indices where model.ports[index].domain == domain && !model.ports[index].isMasked {
            model.ports[index].isPending = false
        }
    }

    mutating func grant(_ domain: UInt16, _ grantee: UInt16, _ frame: UInt64, _ readOnly: Bool) {
        guard model.grants.filter({ $0.domain == domain }).count < 5 else { return }
        log.append("grant \(domain) to \(grantee) frame \(frame) read-only \(readOnly)")
        let result = Result { () throws(GrantError) in
            try hypervisor.grantAccess(
                to: DomainID(grantee),
                frame: FrameNumber(frame),
                readOnly: readOnly,
                of: DomainID(domain)
            )
        }
        guard model.alive.contains(domain) else { return expect(result, .failure(.badDomain(DomainID(domain)))) }
        guard case .success(let reference) = result else { return expect(0, 1) }
        expect(reference.rawValue >= 8 && model.grant(domain, reference.rawValue) == nil, true)
        model.grants.append(
            .init(domain: domain, reference: reference.rawValue, grantee: grantee, frame: frame, isReadOnly: readOnly)
        )
    }

    mutating func endAccess(_ domain: UInt16, _ reference: UInt32) {
        log.append("end \(domain) \(reference)")
        let expected = Result { () throws(GrantError) in
            guard model.alive.contains(domain) else { throw .badDomain(DomainID(domain)) }
            guard let grant = model.grant(domain, reference) else { throw .badReference(GrantReference(reference)) }
            guard !model.isMapped(grant) else { throw .inUse(GrantReference(reference)) }
            model.grants.removeAll { $0 == grant }
        }
        let result = Result { () throws(GrantError) in
            try hypervisor.endAccess(GrantReference(reference), of: DomainID(domain))
        }
        expect(result.map { 0 }, expected.map { 0 })
    }

    mutating func map(_ owner: UInt16, _ domain: UInt16, _ reference: UInt32, _ readOnly: Bool) {
        log.append("map \(owner) \(reference) by \(domain) read-only \(readOnly)")
        let expected = model.mapError(reference, of: owner, readOnly: readOnly, by: domain)
        let result = Result { () throws(GrantError) in
            try hypervisor.map(
                GrantReference(reference),
                of: DomainID(owner),
                readOnly: readOnly,
                by: DomainID(domain)
            )
        }
        switch result {
        case .failure(let error): expect(error, expected)
        case .success(let mapping):
            expect(expected, nil)
            expect(mapping.frame.rawValue, model.grant(owner, reference)?.frame)
            expect(model.mappings.contains { $0.mapper == mapping.mapper && $0.handle == mapping.handle }, false)
            model.mappings.append(mapping)
        }
    }

    /// Unmaps a live mapping, or one that is unmapped already.
    mutating func unmap() {
        let candidates = model.mappings + stale.suffix(2)
        guard !candidates.isEmpty else { return }
        let mapping = candidates[random.below(candidates.count)]
        log.append("unmap \(mapping)")
        let result = Result { () throws(GrantError) in try hypervisor.unmap(mapping, by: mapping.mapper) }
        if model.mappings.contains(mapping) {
            expect(result, .success(model.unmap(mapping)))
            stale.append(mapping)
        } else {
            let isAlive = model.alive.contains(mapping.mapper.rawValue)
            expect(result, .failure(isAlive ? .badHandle : .badDomain(mapping.mapper)))
        }
    }

    /// Compares everything that can be asked.
    func compare() {
        for domain: UInt16 in 0..<4 {
            let id = DomainID(domain)
            let status: DomainStatus =
                model.alive.contains(domain) ? .alive : model.isZombie(domain) ? .zombie : .absent
            expect(hypervisor.status(of: id), status)
            expect(hypervisor.hasPending(id), !model.ready(domain).isEmpty)
            for number: UInt32 in 0...6 {
                let port = model.index(domain, number).map { model.ports[$0] }
                expect(hypervisor.state(of: EventChannelPort(number), in: id), port?.state ?? .closed)
                expect(hypervisor.isPending(EventChannelPort(number), of: id), port?.isPending ?? false)
            }
        }
        let leaks = hypervisor.leaks()
        expect(leaks.ports.count, model.ports.count)
        expect(leaks.grants.count, model.grants.count)
        expect(Set(leaks.mappings), Set(model.mappings))
        for grant in leaks.grants {
            let count = model.mappings.filter { $0.owner == grant.domain && $0.reference == grant.reference }.count
            expect(grant.entry.readers + grant.entry.writers, count)
        }
    }

    func expect<Value: Equatable>(_ seen: Value, _ expected: Value) {
        guard seen != expected else { return }
        Issue.record("saw \(seen), expected \(expected), after:\n\(log.suffix(40).joined(separator: "\n"))")
    }
}

struct ModelTests {
    @Test(arguments: UInt64(1)...60)
    func `random operations do what the plain model does`(seed: UInt64) {
        var pair = Pair(seed: seed)
        for _ in 0..<200 {
            pair.step()
            pair.compare()
        }
    }

    @Test func `the operations reach what is rare`() {
        var zombies = 0
        var fullTables = 0
        var masked = 0
        for seed: UInt64 in 1...60 {
            var pair = Pair(seed: seed)
            for _ in 0..<200 {
                pair.step()
                zombies += (0..<4).contains { pair.model.isZombie($0) } ? 1 : 0
                fullTables += (0..<4).contains { pair.model.lowestFree($0) == nil } ? 1 : 0
                masked += pair.model.ports.contains { $0.isPending && $0.isMasked } ? 1 : 0
            }
        }
        #expect(zombies > 100)
        #expect(fullTables > 100)
        #expect(masked > 100)
    }
}
