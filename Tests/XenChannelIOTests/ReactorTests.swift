// SPDX-License-Identifier: MIT

import Foundation
import Glibc
import Synchronization
import Testing

@testable import XenChannelIO

@Suite(.longest)
struct ReactorTests {
    @Test func `a loop at rest does not turn`() throws {
        #expect(try Reactor().turns() < 4)
    }

    @Test func `no wake-up is lost between two loops`() throws {
        let loops = try (Loop(), Loop())
        // Each answer is a wake-up of a loop that may be about to sleep.
        for round in 0..<3000 {
            #expect(try loops.0.sync { round } == round)
            #expect(try loops.1.sync { round } == round)
        }
        try loops.0.stop()
        try loops.1.stop()
    }

    @Test func `wake-ups of many threads at once are all seen`() throws {
        let loop = try Loop()
        let threads = (0..<4).map { number in
            Thread {
                for round in 0..<500 {
                    do {
                        #expect(try loop.sync { number * 1000 + round } == number * 1000 + round)
                    } catch {
                        Issue.record(error)
                    }
                }
            }
        }
        threads.forEach { $0.start() }
        let deadline = Date(timeIntervalSinceNow: 20)
        while threads.contains(where: { !$0.isFinished }), Date() < deadline { Thread.sleep(forTimeInterval: 0.001) }
        #expect(!threads.contains { !$0.isFinished })
        try loop.stop()
    }

    @Test func `the byte of a wake-up that comes after the sleep interrupts one more sleep and no others`() throws {
        let reactor = try Reactor()
        #expect(reactor.waker.prepareToSleep())
        // The sleep ends for another reason, and only then the waker gets to writing.
        reactor.waker.wake()
        reactor.waker.rise()
        #expect(reactor.turns() < 5)
    }

    @Test func `a wake-up before the sleep prevents it`() throws {
        let waker = try Waker()
        waker.wake()
        #expect(!waker.prepareToSleep())
        #expect(waker.prepareToSleep())
        waker.wake()
        waker.rise()
        #expect(waker.prepareToSleep())
        waker.rise()
        // As in the loop's own thread.
        waker.wakeWithin()
        #expect(!waker.prepareToSleep())
        waker.wakeWithin()
        waker.rise()
        #expect(waker.prepareToSleep())
    }

    @Test func `no signal of another thread is lost, however soon the loop goes back to sleep`() throws {
        let reactor = try Reactor()
        let signal = Signal(waking: reactor.waker)
        let raised = Atomic(0)
        let seen = Atomic(0)
        let count = 2000
        reactor.addWork { [unowned reactor] in
            guard signal.take() else { return false }
            seen.store(raised.load(ordering: .relaxed), ordering: .relaxed)
            if seen.load(ordering: .relaxed) == count { reactor.stop() }
            return true
        }
        let thread = Thread {
            for number in 1...count {
                raised.store(number, ordering: .relaxed)
                signal.raise()?.interrupt()
                // Only when it was seen, the next one: were one lost, nothing would wake the loop.
                while seen.load(ordering: .relaxed) < number { sched_yield() }
            }
        }
        thread.start()
        reactor.run()
        let last = seen.load(ordering: .relaxed)
        #expect(last == count)
    }

    @Test func `a signal of the loop's own thread is seen in the same turn, and interrupts nothing`() throws {
        let reactor = try Reactor()
        let signal = Signal(waking: reactor.waker)
        #expect(signal.take())
        #expect(!signal.take())
        var seen = 0
        reactor.addWork {
            guard signal.take() else { return false }
            seen += 1
            return true
        }
        // It comes after the signal was looked at, and finds nothing to do itself.
        var left = 3
        reactor.addWork {
            guard left > 0 else { return false }
            left -= 1
            #expect(signal.raise() == nil)
            return false
        }
        reactor.turn(until: "all were seen") { seen == 3 }
        #expect(reactor.turns() < 4)
    }

    @Test func `timers fire in the order of their times, those of one time in the order of their making`() throws {
        let reactor = try Reactor()
        var fired: [Int] = []
        for (number, time) in [30, 10, 20, 10, 0, 30].enumerated() {
            _ = reactor.after(.milliseconds(time)) { fired.append(number) }
        }
        let cancelled = reactor.after(.milliseconds(15)) { fired.append(100) }
        _ = reactor.after(.milliseconds(5)) {
            cancelled.cancel()
            _ = reactor.after(.milliseconds(1)) { fired.append(6) }
        }
        reactor.turn(until: "all fired") { fired.count == 7 }
        // The one that is made meanwhile counts from then, which may be late.
        #expect(fired.filter { $0 != 6 } == [4, 1, 3, 2, 0, 5])
    }

    @Test func `a source that was cancelled in the same turn is not called any more`() throws {
        let reactor = try Reactor()
        let ends = try (0..<3).map { _ in try pair() }
        var sources: [Reactor.Source] = []
        var calls: [Int] = []
        for (index, end) in ends.enumerated() {
            sources.append(
                reactor.add(end.near, for: .readable) { _ in
                    calls.append(index)
                    sources.forEach { $0.cancel() }
                }
            )
            end.far.send([1])
        }
        reactor.settle()
        #expect(calls == [0])
    }

    @Test func `sources may be cancelled, added and changed in a handler`() throws {
        let reactor = try Reactor()
        let ends = try (0..<8).map { _ in try pair() }
        var sources: [Int: Reactor.Source] = [:]
        var calls: [Int] = []
        func add(_ index: Int) {
            sources[index] = reactor.add(ends[index].near, for: .readable) { _ in
                calls.append(index)
                sources.removeValue(forKey: index)?.cancel()
                if index + 1 < ends.count { add(index + 1) }
            }
            ends[index].far.send([1])
        }
        add(0)
        reactor.turn(until: "all were called") { calls.count == ends.count }
        #expect(calls == Array(0..<8))
        #expect(reactor.turns() < 5)
    }

    @Test func `a source may be cancelled when its loop is gone`() throws {
        let (near, far) = try pair()
        var source: Reactor.Source?
        do {
            let reactor = try Reactor()
            source = reactor.add(near, for: .readable) { _ in }
            far.send([1])
            reactor.settle()
        }
        source?.interest = .writable
        source?.cancel()
    }

    @Test func `what one descriptor brought is brought to its end before the next one has its turn`() throws {
        let reactor = try Reactor()
        let ends = try (0..<3).map { _ in try pair() }
        var log: [String] = []
        var stepsLeft = 0
        reactor.addWork {
            guard stepsLeft > 0 else { return false }
            stepsLeft -= 1
            log.append("step")
            return true
        }
        let atTheEnd = Deferred { log.append("end") }
        var sources: [Reactor.Source] = []
        for (index, end) in ends.enumerated() {
            end.far.send([1])
            sources.append(
                reactor.add(end.near, for: .readable) { _ in
                    log.append("read \(index)")
                    sources[index].interest = nil
                    stepsLeft = 2
                    reactor.later(atTheEnd)
                }
            )
        }
        reactor.turn(until: "all were read") { log.count >= 12 }
        #expect(log == (0..<3).flatMap { ["read \($0)", "step", "step", "end"] })
    }

    private final class Deferred: DeferredWork {
        private let body: () -> Void

        init(_ body: @escaping () -> Void) {
            self.body = body
        }

        func runDeferred() { body() }
    }

    @Test func `work that never ends does not keep descriptors and timers waiting`() throws {
        let reactor = try Reactor()
        reactor.addWork { true }
        let (near, far) = try pair()
        var hasRead = false
        var hasFired = false
        let source = reactor.add(near, for: .readable) { _ in hasRead = true }
        far.send([1])
        _ = reactor.after(.milliseconds(1)) { hasFired = true }
        reactor.turn(until: "both were served") { hasRead && hasFired }
        source.cancel()
    }

    @Test func `work that never ends does not keep what was put off from being done`() throws {
        let reactor = try Reactor()
        reactor.addWork { true }
        var hasRun = false
        let putOff = Deferred { hasRun = true }
        reactor.later(putOff)
        let timer = reactor.after(.zero) {}
        reactor.turn()
        #expect(hasRun)
        timer.cancel()
    }
}
