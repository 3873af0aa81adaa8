// SPDX-License-Identifier: MIT

import Testing
import XenChannels
import XenHypervisor
import XenInterface
import XenRing
import XenStore

@testable import XenChannelIO

/// A guest of a live host at its own xenstore ring (D45 to D48): the test is the guest's kernel, and the toolstack.
struct GuestStoreRingTests {
    private let host = LiveHost()
    private let toolstack: LiveToolstack
    private let dom0: LiveStoreConnection
    private let guest: LiveDomain
    private var store: LiveStoreConnection { guest.store }
    private var home: StorePath { .domain(guest.id) }
    private var data: StorePath { home.appending("data") }

    init() throws {
        toolstack = LiveToolstack(on: host)
        dom0 = LiveStoreConnection(as: .dom0, to: host)
        guest = try toolstack.createGuest(name: "g", uuid: "0") { _ throws(ToolstackError) in [] }
    }

    /// The guest's page and its own end of the channel, as its domain builder wrote them.
    private func page() throws -> (memory: PageMemory, frame: FrameNumber, port: EventChannelPort) {
        func number(_ name: String) throws -> UInt32 {
            guard case .value(let value) = dom0.perform(.read(home.appending(name))) else { return 0 }
            return try #require(value.decimal())
        }
        let frame = FrameNumber(UInt64(try number("store/ring-ref")))
        return (try #require(host.page(frame, of: guest.id)), frame, EventChannelPort(try number("store/port")))
    }

    private func events(of connection: LiveStoreConnection) -> [String] {
        var tokens: [String] = []
        while let event = connection.nextWatchEvent() { tokens.append("\(event.path) \(event.token)") }
        return tokens
    }

    @Test func `a guest is served at its ring, whose indices move`() throws {
        #expect(store.usesRing && !dom0.usesRing)
        let page = try page().memory.page
        #expect(page.loadAcquire(at: RingLayout.xenstoreRequest.producerIndex) == 0)
        #expect(store.perform(.write(data.appending("a"), "v")) == .done)
        #expect(store.perform(.read(data.appending("a"))) == .value("v"))
        #expect(dom0.perform(.read(data.appending("a"))) == .value("v"))
        for layout in [RingLayout.xenstoreRequest, .xenstoreResponse] {
            let produced = page.loadAcquire(at: layout.producerIndex)
            #expect(produced > 0 && produced == page.loadAcquire(at: layout.consumerIndex))
        }
    }

    @Test func `requests and replies longer than the ring pass in pieces, and one too long is refused whole`() throws {
        let value = StoreValue((0..<1900).map { UInt8(truncatingIfNeeded: $0) })
        #expect(store.perform(.write(data.appending("long"), value)) == .done)
        #expect(store.perform(.read(data.appending("long"))) == .value(value))
        let huge = StoreValue([UInt8](repeating: 1, count: 4096))
        #expect(store.perform(.write(data.appending("huge"), huge)) == .failure(.tooBig))
        #expect(store.perform(.read(data.appending("huge"))) == .failure(.noEntry))
    }

    @Test func `a guest has the rights of its domain and no others`() {
        #expect(store.perform(.write(home.appending("name"), "x")) == .failure(.accessDenied))
        #expect(store.perform(.introduce(DomainID(7), FrameNumber(1), EventChannelPort(1))) == .failure(.accessDenied))
    }

    @Test func `events come through the ring, also those behind a reply and those of a hundred writes`() throws {
        let node = data.appending("w")
        #expect(store.perform(.watch(node, token: "t")) == .done)
        #expect(events(of: store) == ["\(node) t"])
        for number in 0..<100 {
            _ = dom0.perform(.write(node.appending("n\(number)"), "v"))
        }
        #expect(events(of: store) == (0..<100).map { "\(node.appending("n\($0)")) t" })
        #expect(store.perform(.read(node)) == .value(""))
        #expect(store.perform(.unwatch(node, token: "t")) == .done)
        _ = dom0.perform(.write(node, "v"))
        #expect(events(of: store).isEmpty)
    }

    /// A store as oxenstored answers before it tells, so that what a request brings about is behind its reply: more than the ring holds.
    @Test func `what a request brings behind its reply comes without another request (R21, D48)`() throws {
        let host = LiveHost(storeRules: .oxenstored)
        let guest = try LiveToolstack(on: host).createGuest(name: "g", uuid: "0") { _ throws(ToolstackError) in [] }
        let node = StorePath.domain(guest.id).appending("data").appending("n")
        for number in 0..<100 { #expect(guest.store.perform(.watch(node, token: "t\(number)")) == .done) }
        #expect(events(of: guest.store).count == 100)
        #expect(guest.store.perform(.write(node, "v")) == .done)
        #expect(events(of: guest.store).count == 100)
    }

    @Test func `an event wakes the guest's loop`() throws {
        let reactor = try Reactor()
        guest.wake(reactor.waker)
        #expect(store.perform(.watch(data, token: "t")) == .done)
        while guest.events.nextPending() != nil {}
        _ = events(of: store)
        _ = reactor.waker.prepareToSleep()
        let isAsleep = reactor.waker.prepareToSleep()
        #expect(isAsleep)
        _ = dom0.perform(.write(data.appending("x"), "v"))
        // The sleep was ended by the wake-up.
        let isWoken = !reactor.waker.prepareToSleep()
        #expect(isWoken)
    }

    @Test func `what came with a reply, or lies in the ring when that is taken into use, is said to the loop`() throws {
        let signal = Signal(waking: try Reactor().waker)
        guest.raise(signal)
        #expect(store.perform(.watch(data, token: "t")) == .done)
        _ = signal.take()
        _ = events(of: store)
        // The event of a watch comes behind the reply to its request, and the port is pending since the first: that says nothing.
        #expect(store.perform(.watch(data, token: "u")) == .done)
        while guest.events.nextPending() != nil {}
        #expect(signal.take())
        #expect(events(of: store) == ["\(data) u"])

        let memory = PageMemory()
        var producer = RingProducer(fresh: memory.page, layout: .xenstoreResponse)
        let event = StoreMessage(.watchEvent, payload: Array("\(data)\0w\0".utf8))
        #expect(try producer.write(event.encoded.span) == event.encodedSize)
        store.useRing(memory, port: try page().port)
        #expect(signal.take())
        #expect(events(of: store) == ["\(data) w"])
    }

    @Test func `transactions through the ring conflict as they do elsewhere`() throws {
        guard case .transaction(let id) = store.perform(.beginTransaction) else {
            Issue.record("no transaction")
            return
        }
        _ = store.perform(.write(data.appending("a"), "1"), in: id)
        _ = dom0.perform(.write(data.appending("a"), "2"))
        #expect(store.perform(.endTransaction(commit: true), in: id) == .failure(.again))
        #expect(store.perform(.read(data.appending("a"))) == .value("2"))
    }

    @Test(arguments: [2052, 2056])
    func `a guest that breaks its ring is told so and harms nobody, until it is introduced again (D47)`(
        index: Int
    ) throws {
        let (memory, frame, port) = try page()
        #expect(store.perform(.watch(data, token: "t")) == .done)
        let watches = host.store.withLock { $0.server.watchCount }
        memory.page.storeRelease(70_000, at: index)
        if index == 2052 {
            try guest.events.notify(port)
        } else {
            // The store looks at what the guest has taken only once there is no more room.
            for number in 0..<50 { _ = dom0.perform(.write(data.appending("n\(number)"), "v")) }
        }
        #expect(memory.page.loadAcquire(at: StoreRingWord.error) == StoreRingError.badIndex.rawValue)
        #expect(store.perform(.read(data)) == .failure(.inputOutput))
        #expect(host.store.withLock { $0.server.watchCount } == watches - 1)
        #expect(dom0.perform(.write(data.appending("b"), "v")) == .done)

        memory.page.storeRelease(0, at: StoreRingWord.error)
        memory.page.storeRelease(StoreRingWord.reconnect, at: StoreRingWord.connection)
        #expect(dom0.perform(.introduce(guest.id, frame, port)) == .done)
        #expect(memory.page.loadAcquire(at: StoreRingWord.connection) == StoreRingWord.connected)
        store.useRing(memory, port: port)
        #expect(store.perform(.read(data.appending("b"))) == .value("v"))
        #expect(events(of: store).isEmpty)
    }

    @Test func `a message beyond 4096 bytes in the ring ends the conversation with error 3 (D46)`() throws {
        let (memory, _, port) = try page()
        var producer = RingProducer(fresh: memory.page, layout: .xenstoreRequest)
        let header: [UInt8] = [2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 16, 0, 0]
        _ = try producer.write(header.span)
        try guest.events.notify(port)
        #expect(memory.page.loadAcquire(at: StoreRingWord.error) == StoreRingError.protocolViolated.rawValue)
    }

    @Test func `a released guest gets no more answers, and the store keeps nothing of it`() throws {
        let before = host.store.withLock { $0.server.connectionIDs.count }
        try toolstack.destroy(guest.id)
        #expect(store.perform(.read(data)) == .failure(.inputOutput))
        #expect(host.leaks().isEmpty)
        #expect(host.withHypervisor { $0.openPorts(of: .dom0) }.isEmpty)
        #expect(host.store.withLock { $0.server.connectionIDs.count } == before - 1)
        let next = try toolstack.createGuest(name: "h", uuid: "1") { _ throws(ToolstackError) in [] }
        #expect(next.store.perform(.write(StorePath.domain(next.id).appending("data"), "v")) == .done)
    }

    /// Has the store leave the guest's requests where they are, for want of memory; returns the guest's transaction.
    private func stall() throws -> StoreTransactionID {
        // Nodes of dom0's making that the guest owns: it pays for them, and dom0 may go on to the limit.
        let value = StoreValue([UInt8](repeating: 1, count: 3900))
        var count = 0
        while dom0.perform(.write(data.appending("d\(count / 50)/n\(count)"), value)) == .done { count += 1 }
        #expect(count > 600 && count < 680)
        guard case .transaction(let id) = store.perform(.beginTransaction) else {
            throw SystemError("store", "", detail: "no transaction")
        }
        // The copy of a node in a transaction is not refused, and stalls the guest.
        #expect(store.perform(.read(data.appending("d0/n0")), in: id) == .failure(.noMemory))
        #expect(store.perform(.read(data)) == .failure(.inputOutput))
        return id
    }

    @Test func `a guest whose memory is used up is not answered until others make room (D41)`() throws {
        let id = try stall()
        let (page, requests) = (try page().memory.page, RingLayout.xenstoreRequest)
        let asked = page.loadAcquire(at: requests.producerIndex)
        #expect(page.loadAcquire(at: requests.consumerIndex) != asked)
        #expect(dom0.perform(.remove(data.appending("d1"))) == .done)
        // The request is taken though the guest does not ring again.
        #expect(page.loadAcquire(at: requests.consumerIndex) == asked)
        #expect(store.perform(.endTransaction(commit: false), in: id) == .done)
        #expect(store.perform(.write(data.appending("own"), "v")) == .done)
    }

    @Test func `a guest that is released while it waits for memory is served no more`() throws {
        _ = try stall()
        let (memory, requests) = (try page().memory, RingLayout.xenstoreRequest)
        let taken = memory.page.loadAcquire(at: requests.consumerIndex)
        #expect(dom0.perform(.release(guest.id)) == .done)
        #expect(dom0.perform(.remove(data)) == .done)
        #expect(memory.page.loadAcquire(at: requests.consumerIndex) == taken)
        #expect(memory.page.loadAcquire(at: requests.producerIndex) != taken)
    }
}
