// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenExploration
import XenInterface
import XenRing
import XenStore

/// The test is the guest: it has the other ends of the two rings.
struct RingConversationTests {
    @Test func `a guest gets all replies, whatever its messages are cut into`() {
        checkProperty(cases: 20) { random in
            let page = Page()
            var world = GuestWorld(page)
            let value = (0..<1900).map { _ in random.integer(in: UInt8.min...UInt8.max) }
            let requests: [StoreMessage] = (1...30).map { number in
                let path = "data/\(number % 3)"
                return number % 2 == 1
                    ? StoreMessage(.write, request: UInt32(number), payload: Array("\(path)\u{0}".utf8) + value)
                    : StoreMessage(.read, request: UInt32(number), payload: Array("data/\((number - 1) % 3)\u{0}".utf8))
            }
            var rest = requests.flatMap(\.encoded)[...]
            var turns = 0
            while world.replies.count < requests.count, turns < 10_000 {
                turns += 1
                if !rest.isEmpty {
                    let piece = Array(rest.prefix(1 + random.choose(below: 1500)))
                    rest = rest.dropFirst(try world.guestWrites(piece))
                }
                if random.choose(below: 3) > 0 { world.serve() }
                if random.choose(below: 3) > 0 { try world.guestReads(atMost: 1 + random.choose(below: 1024)) }
            }
            let replies = world.replies
            try requireEqual(replies.map(\.request), requests.map(\.request), "replies")
            try requireEqual(
                replies.count { $0.payload != value && $0.payload != [0x4F, 0x4B, 0] },
                0,
                "wrong replies"
            )
        }
    }

    @Test func `bytes that moved are announced once`() throws {
        let page = Page()
        var world = GuestWorld(page)
        let atFirst = world.serve()
        _ = try world.guestWrites(StoreMessage(.read, payload: [0x2F, 0]).encoded)
        let afterRequest = world.serve()
        let afterwards = world.serve()
        #expect([atFirst, afterRequest, afterwards] == [false, true, false])
    }

    @Test func `a guest that waits for the store is told that it is there`() {
        let page = Page()
        page.memory.storeRelease(StoreRingWord.reconnect, at: StoreRingWord.connection)
        for offset in [2048, 2052, 2056, 2060] { page.memory.storeRelease(99, at: offset) }
        var conversation = StoreRingConversation(introducing: page.memory)
        let isNotified = conversation.takeNotification()
        #expect(isNotified)
        #expect(page.memory.loadAcquire(at: StoreRingWord.connection) == StoreRingWord.connected)
        for offset in [2048, 2052, 2056, 2060] { #expect(page.memory.loadAcquire(at: offset) == 0) }
        let received = conversation.receive()
        #expect(received == .idle)
    }

    @Test(arguments: [2052, 2056])
    func `a bad index ends the conversation, and is said once`(offset: Int) {
        let page = Page()
        var conversation = StoreRingConversation(introducing: page.memory)
        page.memory.storeRelease(5000, at: offset)
        // More than fits, so that the guest's index is looked at; fewer than the replies that may wait.
        for _ in 0..<(offset == 2056 ? 19 : 0) {
            conversation.send(StoreMessage(.read, payload: [UInt8](repeating: 0, count: 100)))
        }
        conversation.flush()
        var received: [StoreRingConversation<SharedPage>.Received] = []
        for _ in 0..<3 {
            received.append(conversation.receive())
            conversation.flush()
        }
        #expect(received == [.broken(.badIndex), .idle, .idle])
        #expect(page.memory.loadAcquire(at: StoreRingWord.error) == 2)
        page.memory.storeRelease(0, at: offset)
        let last = conversation.receive()
        #expect(last == .idle)
        let holdsOutput = conversation.hasUnsentOutput
        #expect(!holdsOutput)
    }

    @Test func `a request is taken exactly while fewer replies wait than may`() throws {
        let page = Page()
        var conversation = StoreRingConversation(introducing: page.memory, outstandingRequests: 2)
        var producer = RingProducer(fresh: page.memory, layout: .xenstoreRequest)
        let request = StoreMessage(.read, payload: [0x2F, 0])
        for _ in 0..<2 {
            #expect(try producer.write(request.encoded.span) == request.encodedSize)
            let received = conversation.receive()
            #expect(received == .message(request))
            conversation.send(StoreMessage(.read))
        }
        #expect(try producer.write(request.encoded.span) == request.encodedSize)
        let received = conversation.receive()
        #expect(received == .idle)
        conversation.flush()
        let next = conversation.receive()
        #expect(next == .message(request))
    }

    @Test func `a request index beyond the ring is noticed before a byte is read`() {
        let page = Page()
        var conversation = StoreRingConversation(introducing: page.memory)
        page.memory.storeRelease(1025, at: 2052)
        let received = conversation.receive()
        #expect(received == .broken(.badIndex))
        #expect(page.memory.loadAcquire(at: StoreRingWord.error) == 2)
        #expect(page.memory.loadAcquire(at: 2048) == 0)
        let isNotified = conversation.takeNotification()
        #expect(!isNotified)
    }

    @Test func `a payload beyond 4096 ends the conversation`() throws {
        let page = Page()
        var world = GuestWorld(page)
        _ = try world.guestWrites([2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 16, 0, 0])
        world.serve()
        let error = world.conversation.error
        #expect(error == .protocolViolated)
        #expect(page.memory.loadAcquire(at: StoreRingWord.error) == 3)
    }

    @Test func `requests stay in the ring while twenty replies wait`() throws {
        let page = Page()
        var world = GuestWorld(page)
        let request = StoreMessage(.read, payload: [0x2F, 0]).encoded
        // Replies of 22 bytes: the ring takes 46 of them, so that the queue has to fill behind it.
        for _ in 0..<4 {
            _ = try world.guestWrites(Array((0..<50).flatMap { _ in request }))
            world.serve()
        }
        let consumed = page.memory.loadAcquire(at: 2048)
        world.serve()
        #expect(page.memory.loadAcquire(at: 2048) == consumed)
        while try world.guestReads(atMost: 1024) > 0 { world.serve() }
        #expect(page.memory.loadAcquire(at: 2048) > consumed)
    }

    /// As messages of the wire, and as the store hands them over: 150 events, of which each is longer than ten bytes.
    @Test(arguments: [false, true])
    func `events beyond the bound are lost, and replies never are (D41)`(atOnce: Bool) throws {
        var store = StoreServer()
        let client = store.connect(as: .dom0)
        var sink = EventSink()
        store.perform(.watch(.root, token: "t"), on: client, into: &sink)
        for number in 0..<150 {
            store.perform(.write(StorePath.root.appending("n\(number)"), "v"), on: client, into: &sink)
        }
        let page = Page()
        let bound = 2000
        var conversation = StoreRingConversation(introducing: page.memory, queueLimit: bound)
        if atOnce {
            conversation.send(contentsOf: sink.events.span)
        } else {
            for event in sink.events { conversation.send(event.message) }
        }
        let reply = StoreMessage(.read, request: 7, payload: [UInt8](repeating: 1, count: 3000))
        conversation.send(reply)
        var consumer = RingConsumer(fresh: page.memory, layout: .xenstoreResponse)
        var decoder = StoreMessageDecoder()
        while conversation.hasUnsentOutput {
            conversation.flush()
            let bytes = try [UInt8](capacity: 1024) { output in _ = try consumer.read(appendingTo: &output) }
            decoder.append(bytes[...])
        }
        var received: [StoreMessage] = []
        while case .message(let message) = decoder.next() { received.append(message) }
        let sizes = sink.events.map(\.message.encodedSize)
        var (kept, total) = (0, 0)
        while kept < sizes.count, total + sizes[kept] <= bound {
            total += sizes[kept]
            kept += 1
        }
        #expect(kept > 50 && kept < 150)
        #expect(received == sink.events.prefix(kept).map(\.message) + [reply])
    }
}

/// Keeps the events of one connection as the store hands them over.
private struct EventSink: StoreOutputSink {
    var events: [StoreEvent] = []

    mutating func append(_: StoreOutput) {}

    mutating func append(contentsOf new: Span<StoreEvent>, to _: StoreConnectionID) {
        for index in new.indices { events.append(new[index]) }
    }
}

/// A page of memory for as long as the value lives.
final class Page {
    let memory: SharedPage
    private let storage: ManagedBuffer<Void, UInt64>

    init() {
        storage = ManagedBuffer<Void, UInt64>.create(minimumCapacity: 512) { _ in () }
        memory = unsafe storage.withUnsafeMutablePointerToElements { pointer in
            unsafe pointer.initialize(repeating: 0, count: 512)
            return unsafe SharedPage(base: UnsafeMutableRawPointer(pointer))
        }
    }
}

/// A store that serves one guest, and the guest's ends of the rings.
struct GuestWorld: ~Copyable {
    var store = StoreServer()
    let connection: StoreConnectionID
    var conversation: StoreRingConversation<SharedPage>
    var producer: RingProducer<SharedPage>
    var consumer: RingConsumer<SharedPage>
    var decoder = StoreMessageDecoder()
    var replies: [StoreMessage] = []
    private let page: Page

    init(_ page: Page) {
        self.page = page
        conversation = StoreRingConversation(introducing: page.memory)
        producer = RingProducer(fresh: page.memory, layout: .xenstoreRequest)
        consumer = RingConsumer(fresh: page.memory, layout: .xenstoreResponse)
        connection = store.connect(as: DomainID(1))
        let dom0 = store.connect(as: .dom0)
        var outputs: [StoreOutput] = []
        let home = StorePath.domain(DomainID(1))
        store.perform(.setPermissions(.root, StorePermissions(owner: .dom0, others: .read)), on: dom0, into: &outputs)
        store.perform(.makeDirectory(home), on: dom0, into: &outputs)
        store.perform(.setPermissions(home, StorePermissions(owner: DomainID(1))), on: dom0, into: &outputs)
    }

    mutating func guestWrites(_ bytes: [UInt8]) throws -> Int {
        try producer.write(bytes.span)
    }

    @discardableResult
    mutating func guestReads(atMost limit: Int) throws -> Int {
        var bytes = [UInt8](repeating: 0, count: limit)
        var span = bytes.mutableSpan
        let count = try consumer.read(into: &span)
        decoder.append(bytes.prefix(count))
        while case .message(let message) = decoder.next() { replies.append(message) }
        return count
    }

    /// Serves the guest, and says whether it is to be notified.
    @discardableResult
    mutating func serve() -> Bool {
        while case .message(let message) = conversation.receive() {
            var outputs: [StoreOutput] = []
            store.handle(message, from: connection, into: &outputs)
            for case .message(let message, connection) in outputs { conversation.send(message) }
            conversation.flush()
        }
        conversation.flush()
        return conversation.takeNotification()
    }
}
