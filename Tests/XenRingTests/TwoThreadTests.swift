// SPDX-License-Identifier: MIT

import Foundation
import TestSupport
import Testing
import XenExploration
import XenRing

/// Two threads on one page, each with one side, checked byte for byte.
///
/// Also meant for the thread sanitizer, which sees bulk copies only with
/// `TSAN_OPTIONS=ignore_interceptors_accesses=0 swift test --sanitize=thread -Xswiftc -O --filter TwoThreadTests`.
/// `XEN_STRESS_MEGABYTES` sets how much goes through the larger ring.
struct TwoThreadTests {
    static let megabytes = ProcessInfo.processInfo.environment["XEN_STRESS_MEGABYTES"].flatMap(Int.init) ?? 100

    @Test func `random traffic in both directions crosses 2^32 and 2^31 unharmed`() throws {
        try run(megabytes: TwoThreadTests.megabytes, before: 0)
        try run(megabytes: TwoThreadTests.megabytes / 10, before: 1 << 31)
    }

    /// Sends `megabytes` each way, the indices starting half as many bytes before `corner`.
    private func run(megabytes: Int, before corner: UInt32) throws {
        let memory = GuardedPage()
        let page = memory.page
        let total = megabytes << 20
        let start = corner &- UInt32(truncatingIfNeeded: total / 2)
        for word in [3072, 3076, 3080, 3084] { page.storeRelease(start, at: word) }
        let sides = [ConsoleRole.frontend, .backend].map { Side(page: page, role: $0, total: total) }
        for side in sides { Thread(block: { side.run() }).start() }
        for side in sides { side.done.wait() }
        for side in sides { #expect(side.failure == nil) }
        #expect(page.loadRelaxed(at: 3084) == start &+ UInt32(truncatingIfNeeded: total))
        #expect(page.loadRelaxed(at: 3080) == start &+ UInt32(truncatingIfNeeded: total))
        #expect(memory.guardsAreIntact)
    }
}

/// The bytes that go each way, over and over; its length is odd, so that each round lies elsewhere in the ring.
private let pattern: [UInt8] = {
    var generator = SplitMix64(seed: 2)
    let round = (0..<65_521).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
    return round + round.prefix(4096)
}()
private let patternLength = 65_521

/// One thread: fills its ring and drains the other's, in pieces of random length.
private final class Side: @unchecked Sendable {
    let page: SharedPage
    let role: ConsoleRole
    let total: Int
    let done = DispatchSemaphore(value: 0)
    var failure: String?

    init(page: SharedPage, role: ConsoleRole, total: Int) {
        self.page = page
        self.role = role
        self.total = total
    }

    func run() {
        do {
            try transfer()
        } catch {
            failure = "\(role): \(error)"
        }
        done.signal()
    }

    private func transfer() throws {
        var ring = try ConsoleRing(attaching: page, as: role)
        var choices = Choices(seed: role == .frontend ? 1 : 2, recording: false)
        var sent = 0
        var received = 0
        // A peer that gave up must not leave this thread spinning for ever.
        var idle = 0
        while sent < total || received < total {
            let before = sent + received
            let length = min(choices.integer(in: 1...3000), total - sent)
            let at = sent % patternLength
            sent += try ring.output.write(pattern.span.extracting(at..<(at + length)))
            received += try receive(&ring, at: received, upTo: choices.integer(in: 1...3000))
            idle = sent + received == before ? idle + 1 : 0
            if idle > 0 { sched_yield() }
            if idle > 20_000_000 { throw PropertyViolation("stuck at \(sent) sent, \(received) received") }
        }
    }

    private func receive(
        _ ring: inout ConsoleRing<SharedPage>,
        at received: Int,
        upTo length: Int
    ) throws -> Int {
        var buffer = Array(repeating: UInt8(0), count: length)
        var span = buffer.mutableSpan
        let count: Int
        if length % 3 == 0 {
            count = try ring.input.peek(into: &span)
            ring.input.advance(by: count)
        } else {
            count = try ring.input.read(into: &span)
        }
        let at = received % patternLength
        let same = unsafe buffer.withUnsafeBytes { got in
            unsafe pattern.withUnsafeBytes { sent in
                guard let got = got.baseAddress, let sent = sent.baseAddress else { return true }
                return unsafe memcmp(got, sent + at, count) == 0
            }
        }
        try require(same, "\(count) bytes after \(received) differ")
        return count
    }
}
