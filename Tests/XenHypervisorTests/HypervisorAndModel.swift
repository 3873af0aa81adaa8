// SPDX-License-Identifier: MIT

import XenExploration
import XenHypervisor
import XenInterface

/// A hypervisor and its model, driven together.
struct HypervisorAndModel {
    var hypervisor: Hypervisor
    var model: HypervisorModel
    var random: Choices
    var stale: [GrantMapping] = []
    var log: [String] = []
    private(set) var difference: String?

    init(_ choices: Choices) {
        let limits = DomainLimits(maximumPort: 5)
        hypervisor = Hypervisor(limits: limits)
        model = HypervisorModel(maximumPort: 5)
        random = choices
    }

    mutating func domain() -> UInt16 { UInt16(random.choose(below: 4)) }
    mutating func port() -> UInt32 { UInt32(random.choose(below: 7)) }

    /// One operation; half of the time with arguments that can succeed.
    mutating func step() {
        let isLikely = random.choose(below: 2) == 0
        switch random.choose(below: 20) {
        case 0: create(domain())
        case 1: if random.choose(below: 3) == 0 { destroy(domain()) }
        case 2: allocate(domain(), domain())
        case 3...6: isLikely ? bindLikely() : bind(domain(), domain(), port())
        case 7...9: isLikely ? onOpenPort { $0.send($1, $2) } : send(domain(), port())
        case 10: isLikely ? onOpenPort { $0.close($1, $2) } : close(domain(), port())
        case 11, 12:
            let isMasked = random.choose(below: 2) == 0
            isLikely ? onOpenPort { $0.mask($1, $2, isMasked) } : mask(domain(), port(), isMasked)
        case 13: deliver(domain())
        case 14, 15: grant(domain(), domain(), UInt64(random.choose(below: 3)), random.choose(below: 2) == 0)
        case 16: endAccess(domain(), UInt32(8 + random.choose(below: 6)))
        case 17, 18:
            isLikely
                ? mapLikely()
                : map(domain(), domain(), UInt32(7 + random.choose(below: 6)), random.choose(below: 2) == 0)
        default: unmap()
        }
    }

    mutating func onOpenPort(_ body: (inout HypervisorAndModel, UInt16, UInt32) -> Void) {
        guard !model.ports.isEmpty else { return }
        let port = model.ports[random.choose(below: model.ports.count)]
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
        let grant = model.grants[random.choose(below: model.grants.count)]
        map(grant.domain, grant.grantee, grant.reference, random.choose(below: 2) == 0)
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
        let foreseen = hypervisor.upcall(ofSending: EventChannelPort(port), from: DomainID(domain))
        let expected = Result { () throws(EventChannelError) in try model.send(domain, port) }
        let result = Result { () throws(EventChannelError) in
            try hypervisor.send(EventChannelPort(port), from: DomainID(domain))
        }
        expect(result.map { $0 != nil }, expected)
        expect((try? result.get()) ?? nil, foreseen)
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
        var copy = hypervisor
        var all: [UInt32] = []
        copy.takePending(of: DomainID(domain)) { all.append($0.rawValue) }
        let taken = ready.map { _ in hypervisor.nextPending(of: DomainID(domain))?.rawValue ?? 0 }
        expect(taken.sorted(), ready)
        expect(hypervisor.nextPending(of: DomainID(domain)), nil)
        // All at once is the same, one after the other.
        expect(all, taken)
        expect(copy == hypervisor, true)
        for index in model.ports.indices where model.ports[index].domain == domain && !model.ports[index].isMasked {
            model.ports[index].isPending = false
        }
    }

    /// Compares everything that can be asked.
    mutating func compare() {
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

    /// Notes the first difference.
    mutating func expect<Value: Equatable>(_ seen: Value, _ expected: Value) {
        guard seen != expected, difference == nil else { return }
        difference = "saw \(seen), expected \(expected), after:\n\(log.suffix(40).joined(separator: "\n"))"
    }
}
