// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenBus
import XenChannels
import XenExploration
import XenInterface
import XenRing

@testable import XenChannelIO

/// A stream whose other side the test plays, and the far end's bytes so far.
private final class StreamBench {
    let bench: Bench
    let stream: ChannelStream
    private(set) var written = 0
    private(set) var received: [UInt8] = []
    private(set) var told = 0
    private(set) var isDone = false
    static let limit = 4096

    init(_ service: ChannelService) throws {
        bench = try Bench()
        stream = ChannelStream(on: bench.reactor, service: service)
        stream.onOverflow = { [unowned self] in told += 1 }
        stream.onDone = { [unowned self] in isDone = true }
        stream.attach(try bench.ring(), limit: StreamBench.limit)
    }

    /// Writes up to `count` bytes as a guest does that waits for room, and returns how many it could.
    @discardableResult
    func flood(_ count: Int) throws -> Int {
        let start = written
        while written - start < count {
            let moved = try bench.write(pattern(min(2048, count - written + start), from: written))
            guard moved > 0 else { break }
            written += moved
            stream.ringChanged()
            bench.reactor.settle()
        }
        return written - start
    }

    func read(_ count: Int) {
        received += [UInt8](capacity: count) { output in
            unsafe output.withUnsafeMutableBufferPointer { buffer, filled in
                var span = unsafe MutableSpan(_unsafeElements: buffer)
                filled = stream.read(into: &span)
            }
        }
    }

    func readAll() {
        var before = -1
        while before != received.count {
            before = received.count
            read(3000)
            bench.reactor.settle()
        }
    }

    /// Peeks at up to `size` bytes, and takes as many of `part` as that were after `body`.
    func peek(_ size: Int, take part: Int, after body: () -> Void) {
        var buffer = [UInt8](repeating: 0, count: size)
        var span = buffer.mutableSpan
        let count = stream.peek(into: &span)
        body()
        let taken = min(part, count)
        stream.advance(by: taken)
        received += buffer.prefix(taken)
    }

    var dropped: Int { Int(stream.statistics.bytesDropped) }
    var inRing: Int { (try? bench.guest.output.capacity - bench.guest.output.freeCapacity()) ?? 0 }
    /// Whether every byte of the guest's is somewhere.
    var isComplete: Bool { received.count + stream.takenEarly + dropped + stream.backlogCount + inRing == written }
    var waits: Bool { stream.overflow.timer?.isRunning ?? false }
}

/// What becomes of a guest's bytes when a handler in this program does not read: a full ring freezes a processor of a Linux guest (R13, A26).
@Suite(.longest)
struct StreamPolicyTests {
    @Test(arguments: [ChannelDurability.backlog, .ring])
    func `a handler that does not read has the guest wait for the deadline, and no longer`(
        durability: ChannelDurability
    ) throws {
        let bench = try StreamBench(ChannelService(durability: durability))
        let before = Reactor.now()
        let room = durability == .ring ? 2048 : StreamBench.limit + 2048
        #expect(try bench.flood(100_000) == room)
        // Five seconds, which the test does not wait for.
        let deadline = try #require(bench.stream.overflow.timer?.deadline)
        #expect(deadline >= before + 5_000_000_000 && deadline <= Reactor.now() + 5_000_000_000)
        #expect(bench.dropped == 0 && bench.isComplete)
        // One byte that is taken begins it anew.
        bench.read(1)
        #expect(!bench.waits)
        bench.bench.reactor.settle()
        #expect(try bench.flood(1000) == 1)
        #expect(bench.waits)
        bench.stream.deadlinePassed()
        #expect(bench.told == 1)
        for _ in 0..<3 {
            #expect(try bench.flood(20_000) == 20_000)
            #expect(bench.isComplete)
            #expect(bench.stream.backlogCount <= StreamBench.limit * 5 / 4)
        }
        #expect(bench.told == 1 && bench.dropped > 0 && !bench.isDone)
        // What is read is the beginning, without what was dropped from the middle, and its end.
        let last = durability == .ring ? bench.inRing : 1000
        bench.readAll()
        let first = durability == .ring ? 1 : StreamBench.limit / 2
        #expect(bench.received.prefix(first) == pattern(first)[...])
        #expect(bench.received.suffix(last) == pattern(last, from: bench.written - last)[...])
        // Now that somebody reads, the guest waits again and loses nothing.
        let dropped = bench.dropped
        #expect(try bench.flood(100_000) == room)
        #expect(bench.waits)
        bench.readAll()
        #expect(bench.dropped == dropped && bench.isComplete)
        #expect(bench.received.suffix(room) == pattern(room, from: bench.written - room)[...])
    }

    @Test func `a reader that was woken and does not read is late as well`() throws {
        let bench = try StreamBench(ChannelService(durability: .ring))
        nonisolated(unsafe) let stream = bench.stream
        let task = Task(executorPreference: bench.bench.reactor.executor) {
            _ = await unsafe stream.becomesReadable()
            // And now it is busy with something else.
            try? await Task.sleep(for: .seconds(1000))
        }
        bench.bench.reactor.settle()
        #expect(try bench.flood(100_000) == 2048)
        #expect(bench.waits)
        task.cancel()
    }

    @Test func `without a deadline the guest waits for ever, and that must be asked for`() throws {
        for service in [
            ChannelService(overflow: .blockForever), ChannelService(overflow: .blockForever, durability: .ring),
        ] {
            let bench = try StreamBench(service)
            let room = service.durability == .ring ? 2048 : StreamBench.limit + 2048
            #expect(try bench.flood(100_000) == room)
            #expect(!bench.waits)
            bench.readAll()
            #expect(bench.received == pattern(room))
        }
    }

    @Test(arguments: [ChannelDurability.backlog, .ring])
    func `a handler that is cut off reads no more, and its channel closes`(durability: ChannelDurability) throws {
        let bench = try StreamBench(ChannelService(overflow: .disconnect, durability: durability))
        bench.read(10)
        let written = try bench.flood(100_000)
        #expect(written < 10_000)
        #expect(bench.isDone && bench.stream.isClosed)
        #expect(bench.isComplete && bench.dropped > 0)
        bench.readAll()
        #expect(bench.received.isEmpty)
        // And whoever waits is told.
        let answer = Lock<[Bool]>([])
        nonisolated(unsafe) let stream = bench.stream
        _ = Task(executorPreference: bench.bench.reactor.executor) {
            let isReadable = await unsafe stream.becomesReadable()
            answer.withLock { $0.append(isReadable) }
        }
        bench.bench.reactor.settle()
        #expect(answer.withLock { $0 } == [false])
        bench.stream.detachRing()
        #expect(bench.isComplete)
    }

    @Test(arguments: [ChannelDurability.backlog, .ring], [OverflowRelief.dropMiddle(.qemu), .disconnect])
    func `what a handler has peeked at counts as taken before anything is dropped`(
        durability: ChannelDurability,
        relief: OverflowRelief
    ) throws {
        let policy = OverflowPolicy.block(deadline: .seconds(5), then: relief)
        let bench = try StreamBench(ChannelService(overflow: policy, durability: durability))
        try bench.flood(100_000)
        var buffer = [UInt8](repeating: 0, count: 100)
        var span = buffer.mutableSpan
        let peeked = bench.stream.peek(into: &span)
        #expect(peeked == 100)
        bench.stream.deadlinePassed()
        // It made room; it was not dropped, and takes nothing else with it.
        #expect(bench.dropped == 0 && !bench.isDone)
        #expect(try bench.flood(1000) == 100)
        bench.stream.advance(by: 30)
        bench.stream.advance(by: 70)
        bench.readAll()
        #expect(buffer + bench.received == pattern(bench.written))
    }

    @Test(arguments: [OverflowPolicy.dropMiddle(.qemu), .disconnect])
    func `what a handler has only looked at stays, while there is room for the rest`(policy: OverflowPolicy) throws {
        let bench = try StreamBench(ChannelService(overflow: policy))
        try bench.flood(1000)
        bench.peek(100, take: 0) { _ = try? bench.flood(1048) }
        #expect(bench.stream.backlogCount == 2048)
        bench.readAll()
        #expect(bench.received == pattern(2048) && bench.dropped == 0)
    }

    @Test func `a backend's handler has the policy of its channel's service, and it is told once when that strikes`()
        throws
    {
        let host = LiveHost()
        let reactor = try Reactor()
        let folder = try Folder()
        let backend = BackendDaemon(of: host.controlDomain, on: reactor) { _ in
            ChannelService(overflow: .dropMiddle(.qemu))
        }
        backend.handlers = { _ in .callback { _ in } }
        var reports: [String] = []
        backend.onReport = { reports.append($0.description) }
        let channels = try TestWorld.configurations(["connection=socket,path=%/a,name=a"], in: folder)
        let domain = try LiveToolstack(on: host).createGuest(name: "g", uuid: "1") { _ in channels }
        let guest = GuestDaemon(of: domain, on: reactor) { _ in .program("head -c 1500000 /dev/zero; exec sleep 1000") }
        backend.start()
        guest.start()
        reactor.turn(until: "the guest has said all") {
            backend.channels.first?.statistics.bytesReceived ?? 0 > 1_500_000 - 2048
        }
        let dropped = backend.channels.first?.statistics.bytesDropped ?? 0
        #expect(dropped >= 1_500_000 - 2048 - UInt64(ChannelAttachment.defaultLimit))
        #expect(reports.count { $0.contains("nobody takes the guest's bytes") } == 1)
        var isClosed = false
        guest.close { isClosed = true }
        reactor.turn(until: "no process is left") { isClosed }
    }

    @Test func `a handler's overflow is told once for each attachment`() throws {
        let bench = try StreamBench(ChannelService(overflow: .dropMiddle(.qemu)))
        for attachment in 1...3 {
            try bench.flood(20_000)
            #expect(bench.told == attachment)
            bench.stream.detachRing()
            bench.stream.attach(try bench.bench.ring(), limit: StreamBench.limit)
        }
        #expect(bench.told == 3)
    }

    @Test func `every byte of the guest's is read, dropped, or there, and none is read twice, whatever is done when`() {
        checkProperty(cases: 200) { choices in
            let relief = choices.pick(from: [OverflowRelief.dropMiddle(.xenconsoled), .dropMiddle(.qemu), .disconnect])
            let policies: [OverflowPolicy] = [
                .blockForever, .block(deadline: .seconds(5), then: relief), .dropMiddle(.qemu),
                .dropMiddle(.xenconsoled),
                .disconnect,
            ]
            let service = ChannelService(
                overflow: choices.pick(from: policies),
                durability: choices.pick(from: [.backlog, .ring])
            )
            choices.note("\(service)")
            guard let bench = try? StreamBench(service) else { return }
            for _ in 0..<40 {
                switch choices.choose(below: 6) {
                case 0, 1: _ = try? bench.flood(choices.integer(in: 1...5000))
                case 2: bench.read(choices.integer(in: 1...5000))
                case 3: if bench.waits { bench.stream.deadlinePassed() }
                case 4:
                    guard !bench.stream.isClosed else { break }
                    bench.stream.detachRing()
                    if let ring = try? bench.bench.ring() { bench.stream.attach(ring, limit: StreamBench.limit) }
                default:
                    let size = choices.integer(in: 1...3000)
                    let part = choices.integer(in: 0...size)
                    let meanwhile = choices.choose(below: 3)
                    bench.peek(size, take: part) {
                        if meanwhile == 1 { _ = try? bench.flood(3000) }
                        if meanwhile == 2, bench.waits { bench.stream.deadlinePassed() }
                    }
                }
                try require(bench.isComplete, "a byte is missing or doubled")
                if bench.dropped == 0 {
                    try requireEqual(bench.received, pattern(bench.received.count), "what was read")
                }
            }
        }
    }
}
