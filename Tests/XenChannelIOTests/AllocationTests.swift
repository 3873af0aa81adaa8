// SPDX-License-Identifier: MIT

import Glibc
import Synchronization
import Testing
import XenRing

@testable import XenChannelIO

/// Leaves no memory to allocate: whoever tries ends the process.
@safe private struct Famine: ~Copyable {
    private var held: UnsafeMutableRawPointer?
    private var before = rlimit()

    init() {
        // Nor may the stack need to grow.
        precondition(Famine.deepen(4000) == 4000)
        // Nobody is to look into the end of this process: that would need memory.
        for number in [SIGILL, SIGTRAP, SIGABRT, SIGSEGV, SIGBUS] { _ = signal(number, SIG_DFL) }
        _ = unsafe getrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &before)
        var none = before
        none.rlim_cur = 1
        _ = unsafe setrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &none)
        var size = 1 << 20
        while size >= 8 {
            // What is taken is chained through itself: there is no other memory to remember it in.
            while let taken = unsafe malloc(size) {
                unsafe taken.storeBytes(of: held, as: UnsafeMutableRawPointer?.self)
                unsafe held = taken
            }
            size = size > 4096 ? size / 2 : size - 8
        }
    }

    @inline(never)
    private static func deepen(_ depth: Int) -> Int { depth == 0 ? 0 : deepen(depth - 1) + 1 }

    /// Gives the memory back.
    consuming func end() {
        _ = unsafe setrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &before)
        while let taken = unsafe held {
            unsafe held = taken.load(as: UnsafeMutableRawPointer?.self)
            unsafe free(taken)
        }
    }
}

private let rounds = 2000

@Suite(.longest)
struct AllocationTests {
    @Test func `one allocation is enough to end a process without memory`() async {
        await #expect(processExitsWith: .failure) {
            let count = Int.random(in: 1...2)
            let famine = Famine()
            let bytes = [UInt8](repeating: 7, count: count)
            famine.end()
            exit(bytes.count > 5 ? EXIT_FAILURE : EXIT_SUCCESS)
        }
    }

    // What a violation costs cannot be seen here: the testing library looks at each error that is thrown. That it is
    // nothing is checked in the object code, by `Tests/EmbeddedShim/check.sh`.
    @Test func `the ends of a ring allocate nothing, around its end too`() async {
        await #expect(processExitsWith: .success) {
            let memory = PageMemory()
            var producer = RingProducer(fresh: memory.page, layout: .consoleOut)
            var consumer = RingConsumer(fresh: memory.page, layout: .consoleOut)
            let bytes = pattern(700)
            var buffer = [UInt8](repeating: 0, count: 900)
            func round() throws(RingViolation) -> Int {
                var moved = try producer.write(bytes.span)
                _ = try producer.writeAll(bytes.span)
                var span = buffer.mutableSpan
                let peeked = try consumer.peek(into: &span)
                consumer.advance(by: peeked / 2)
                while try !consumer.isEmpty() { moved += try consumer.read(into: &span) }
                return moved
            }
            for _ in 0..<rounds { _ = try round() }
            let famine = Famine()
            var moved = 0
            for _ in 0..<rounds { moved += try round() }
            famine.end()
            #expect(moved == rounds * (700 + 950))
        }
    }

    @Test func `reading and writing without waiting allocates nothing`() async {
        await #expect(processExitsWith: .success) {
            let pair = try StreamPair()
            let bytes = pattern(64)
            var buffer = [UInt8](repeating: 0, count: 64)
            func round() -> Int {
                let written = pair.front.write(bytes.span)
                pair.front.flush()
                var span = buffer.mutableSpan
                let peeked = pair.back.peek(into: &span)
                pair.back.advance(by: peeked)
                pair.back.flush()
                return min(written, peeked)
            }
            for _ in 0..<rounds { _ = round() }
            pair.reactor.settle()
            let famine = Famine()
            var moved = 0
            for _ in 0..<rounds { moved += round() }
            famine.end()
            #expect(moved == 64 * rounds)
        }
    }

    @Test func `reading and writing in a task that finds bytes and room allocates nothing`() async {
        await #expect(processExitsWith: .success) {
            let pair = try StreamPair()
            let moved = Atomic(-1)
            let bytes = pattern(64)
            pair.task { pair in
                var buffer = [UInt8](repeating: 0, count: 64)
                var sum = 0
                for _ in 0..<rounds {
                    sum += await pair.front.write(bytes)
                    sum += await pair.back.read(into: &buffer) ?? 0
                }
                let famine = Famine()
                sum = 0
                for _ in 0..<rounds {
                    sum += await pair.front.write(bytes)
                    sum += await pair.back.read(into: &buffer) ?? 0
                }
                famine.end()
                moved.store(sum, ordering: .relaxed)
                // The loop looks once more, and does not sleep.
                _ = pair.reactor.after(.zero) {}
            }
            while moved.load(ordering: .relaxed) < 0 { pair.reactor.turn() }
            let sum = moved.load(ordering: .relaxed)
            #expect(sum == 2 * 64 * rounds)
        }
    }

    @Test func `two tasks that wait for each other allocate nothing, nor does the loop that runs them`() async {
        await #expect(processExitsWith: .success) {
            let pair = try StreamPair()
            let moved = Atomic(-1)
            let bytes = pattern(64)
            pair.task { pair in
                var buffer = [UInt8](repeating: 0, count: 64)
                while let count = await pair.back.read(into: &buffer) { await pair.back.write(buffer, 0..<count) }
            }
            pair.task { pair in
                var buffer = [UInt8](repeating: 0, count: 64)
                var sum = 0
                for _ in 0..<rounds {
                    await pair.front.write(bytes)
                    sum += await pair.front.read(into: &buffer) ?? 0
                }
                let famine = Famine()
                sum = 0
                for _ in 0..<rounds {
                    await pair.front.write(bytes)
                    sum += await pair.front.read(into: &buffer) ?? 0
                }
                famine.end()
                moved.store(sum, ordering: .relaxed)
                // The loop looks once more, and does not sleep.
                _ = pair.reactor.after(.zero) {}
            }
            while moved.load(ordering: .relaxed) < 0 { pair.reactor.turn() }
            let sum = moved.load(ordering: .relaxed)
            #expect(sum == 64 * rounds)
        }
    }
}
