// SPDX-License-Identifier: MIT

import Glibc
import Synchronization
import TestSupport
import Testing
import XenChannels
import XenExploration
import XenHypervisor
import XenInterface
import XenRing

@testable import XenChannelIO

/// A page with a stream at either side, in one loop that the test turns.
final class StreamPair {
    let reactor: Reactor
    let memory = PageMemory()
    let front: ChannelStream
    let back: ChannelStream
    private var frontRing: AttachedRing?
    private var backRing: AttachedRing?
    private var work: Reactor.Work?
    private var isFrontPending = false
    private var isBackPending = false

    init() throws {
        reactor = try Reactor()
        front = ChannelStream(on: reactor)
        back = ChannelStream(on: reactor)
        let frontRing = AttachedRing(fresh: memory) { [unowned self] in isBackPending = true }
        let backRing = try AttachedRing(attaching: memory) { [unowned self] in isFrontPending = true }
        self.frontRing = frontRing
        self.backRing = backRing
        front.attach(frontRing, limit: 1)
        back.attach(backRing, limit: 1)
        work = reactor.addWork { [unowned self] in deliver() }
    }

    deinit {
        work?.cancel()
    }

    /// Has the back leave the page and join it again, as a backend does that sees its guest's kernel come anew.
    func rejoinBack() {
        back.detachRing()
        guard let ring = try? AttachedRing(attaching: memory, notify: { [unowned self] in isFrontPending = true })
        else {
            return
        }
        backRing = ring
        back.attach(ring, limit: 1)
    }

    /// Stands for the event channel.
    private func deliver() -> Bool {
        let (toFront, toBack) = (isFrontPending, isBackPending)
        isFrontPending = false
        isBackPending = false
        if toFront { front.ringChanged() }
        if toBack { back.ringChanged() }
        return toFront || toBack
    }

    /// Runs a task in the loop.
    @discardableResult
    func task(_ body: @escaping @Sendable (StreamPair) async -> Void) -> Task<Void, Never> {
        nonisolated(unsafe) let pair = self
        return Task(executorPreference: reactor.executor) { await unsafe body(pair) }
    }
}

@Suite(.longest)
struct ChannelStreamTests {
    @Test
    func `what one side writes the other reads, both ways at once, in order, each task waiting for room and bytes`()
        throws
    {
        let pair = try StreamPair()
        let isDone = Atomic(0)
        let sent = pattern(300_000)
        let task = pair.task { pair in
            let count = await pair.back.write(sent)
            if count == sent.count { isDone.add(1, ordering: .relaxed) }
        }
        pair.task { pair in
            var buffer = [UInt8](repeating: 0, count: 700)
            while let count = await pair.front.read(into: &buffer) {
                guard await pair.front.write(buffer, 0..<count) == count else { return }
            }
        }
        let received = Lock<[UInt8]>([])
        pair.task { pair in
            for await chunk in pair.back.chunks {
                let count = received.withLock { bytes in
                    bytes += chunk
                    return bytes.count
                }
                if count == sent.count { break }
            }
            isDone.add(1, ordering: .relaxed)
        }
        pair.reactor.turn(until: "all came back") { isDone.load(ordering: .relaxed) == 2 }
        #expect(received.withLock { $0 } == sent)
        // The end of the stream ends the loop of the echo.
        pair.front.finish()
        pair.back.finish()
        pair.reactor.settle()
        task.cancel()
        #expect(pair.front.statistics.bytesFromRing == UInt64(sent.count))
    }

    @Test func `bytes that are peeked at stay until they are taken, also when the ring is left in between`() throws {
        let pair = try StreamPair()
        let bytes = pattern(100)
        let count = pair.front.write(bytes.span)
        #expect(count == 100)
        var buffer = [UInt8](repeating: 0, count: 60)
        for _ in 0..<2 {
            var span = buffer.mutableSpan
            let peeked = pair.back.peek(into: &span)
            #expect(peeked == 60 && buffer == [UInt8](bytes[..<60]))
        }
        pair.back.advance(by: 10)
        pair.back.detachRing()
        pair.back.advance(by: 20)
        var rest = [UInt8](repeating: 0, count: 100)
        var span = rest.mutableSpan
        let left = pair.back.read(into: &span)
        #expect([UInt8](rest[..<left]) == [UInt8](bytes[30...]))
    }

    @Test func `an index that goes wrong between a look and the taking traps nobody`() throws {
        let pair = try StreamPair()
        _ = pair.front.write(pattern(100).span)
        var buffer = [UInt8](repeating: 0, count: 100)
        var span = buffer.mutableSpan
        let count = pair.back.peek(into: &span)
        #expect(count == 100)
        pair.memory.page.storeRelease(9999, at: RingLayout.consoleOut.producerIndex)
        pair.back.advance(by: 40)
        pair.back.detachRing()
        pair.back.advance(by: 60)
        #expect(pair.back.statistics.violations > 0)
    }

    @Test func `tasks that are cancelled at any moment lose and double no byte in either direction`() {
        checkProperty(cases: 40) { choices in
            guard let pair = try? StreamPair() else { return }
            let sent = pattern(20_000)
            let written = Atomic(0)
            let received = Lock<[UInt8]>([])
            var steps = 0
            var begun = 0
            let ended = Atomic(0)
            var tasks: (writer: Task<Void, Never>, reader: Task<Void, Never>)?
            while received.withLock({ $0.count }) < sent.count {
                steps += 1
                try require(steps < 5000, "it does not get on")
                let part = choices.integer(in: 1...5000)
                let size = choices.integer(in: 1...3000)
                if tasks == nil {
                    let writer = pair.task { pair in
                        let start = written.load(ordering: .relaxed)
                        let end = min(sent.count, start + part)
                        let count = await pair.front.write(sent, start..<end)
                        written.add(count, ordering: .relaxed)
                        ended.add(1, ordering: .relaxed)
                    }
                    let reader = pair.task { pair in
                        var buffer = [UInt8](repeating: 0, count: size)
                        for _ in 0..<3 {
                            guard let count = await pair.back.read(into: &buffer) else { break }
                            received.withLock { $0 += buffer[..<count] }
                        }
                        ended.add(1, ordering: .relaxed)
                    }
                    begun += 2
                    tasks = (writer, reader)
                }
                for _ in 0..<choices.choose(below: 4) {
                    let timer = pair.reactor.after(.nanoseconds(0)) {}
                    pair.reactor.turn()
                    timer.cancel()
                }
                if choices.chance(1, in: 4) { pair.rejoinBack() }
                tasks?.writer.cancel()
                if choices.bool() { pair.reactor.settle() }
                tasks?.reader.cancel()
                pair.reactor.settle()
                tasks = nil
                // Nobody is left waiting for what will not be told.
                try requireEqual(ended.load(ordering: .relaxed), begun, "tasks that ended")
                try require(!pair.front.isWaitedFor && !pair.back.isWaitedFor, "a waiter is left")
            }
            try requireEqual(received.withLock { $0 }, sent, "what was received")
            try requireEqual(written.load(ordering: .relaxed), sent.count, "what the writers were told")
        }
    }

    @Test func `a cancellation that comes late ends no later wait`() throws {
        let pair = try StreamPair()
        let results = Lock<[Int]>([])
        for round in 0..<50 {
            let first = pair.task { pair in
                var buffer: [UInt8] = [0]
                let count = await pair.back.read(into: &buffer)
                results.withLock { $0.append(count ?? -1) }
            }
            pair.reactor.settle()
            _ = pair.front.write([UInt8(round)].span)
            pair.front.flush()
            let timer = pair.reactor.after(.nanoseconds(0)) {}
            pair.reactor.turn()
            timer.cancel()
            first.cancel()
            pair.reactor.settle()
            #expect(results.withLock { $0.count } == round + 1)
        }
        // Nothing was taken without being said: each byte was read, or is there still.
        let read = results.withLock { $0.count { $0 == 1 } }
        var rest = [UInt8](repeating: 0, count: 100)
        var span = rest.mutableSpan
        let left = pair.back.read(into: &span)
        #expect(read + left == 50)
    }

    @Test func `a cancellation ends no wait but that of its own task, also when the next waits already`() throws {
        let (first, second) = (try Reactor(), try Reactor())
        let waiter = ChannelWaiter()
        let results = Lock<[String]>([])
        let late = Task(executorPreference: first.executor) {
            let result = await waiter.wait()
            results.withLock { $0.append("late \(result)") }
        }
        first.settle()
        // It is ready, and has not run.
        waiter.resume(returning: true)
        Task(executorPreference: second.executor) {
            let result = await waiter.wait()
            results.withLock { $0.append("next \(result)") }
        }
        second.settle()
        late.cancel()
        second.settle()
        #expect(results.withLock { $0.isEmpty })
        first.settle()
        waiter.resume(returning: true)
        second.settle()
        #expect(results.withLock { $0 } == ["late true", "next true"])
    }

    @Test func `both sides of a live channel in this program: bytes go round, an end is an end, and all is counted`()
        throws
    {
        let loop = try Loop()
        let host = LiveHost()
        let folder = try Folder()
        let configurations = try TestWorld.configurations(["connection=socket,path=%/a,name=a"], in: folder)
        let answer = Lock<[UInt8]>([])
        let hasEnded = Atomic(false)
        let sent = pattern(100_000)
        let (backend, guest) = try loop.sync {
            let backend = BackendDaemon(of: host.controlDomain, on: loop.reactor)
            backend.handlers = { _ in
                .task { stream in
                    stream.task { await $0.write(sent) }
                    var count = 0
                    for await chunk in stream.chunks {
                        answer.withLock { $0 += chunk }
                        count += chunk.count
                        if count == sent.count { break }
                    }
                    // The guest goes: the sequence ends.
                    for await chunk in stream.chunks { answer.withLock { $0 += chunk } }
                    hasEnded.store(true, ordering: .releasing)
                }
            }
            let domain = try LiveToolstack(on: host).createGuest(name: "g", uuid: "g") { _ in configurations }
            let guest = GuestDaemon(of: domain, on: loop.reactor) { _ in
                .handler(
                    .task { stream in
                        var buffer = [UInt8](repeating: 0, count: 2048)
                        var count = 0
                        while count < sent.count, let part = await stream.read(into: &buffer) {
                            await stream.write(buffer, 0..<part)
                            count += part
                        }
                        // Returning closes the channel.
                    }
                )
            }
            backend.start()
            guest.start()
            return (backend, guest)
        }
        let deadline = Reactor.now() &+ 20_000_000_000
        while answer.withLock({ $0.count }) < sent.count, Reactor.now() < deadline { usleep(1000) }
        #expect(answer.withLock { $0 } == sent)
        var isClosed = false
        try loop.sync { guest.close { backend.close { isClosed = true } } }
        while try !loop.sync({ isClosed }), Reactor.now() < deadline { usleep(1000) }
        #expect(try loop.sync { isClosed && backend.leftovers.isEmpty && guest.leftovers.isEmpty })
        while !hasEnded.load(ordering: .acquiring), Reactor.now() < deadline { usleep(1000) }
        let hasEndedAtLast = hasEnded.load(ordering: .acquiring)
        #expect(hasEndedAtLast)
        #expect(host.leaks(of: .dom0).isEmpty)
        try loop.stop()
    }
}
