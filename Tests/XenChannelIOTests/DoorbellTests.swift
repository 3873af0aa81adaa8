// SPDX-License-Identifier: MIT

import Foundation
import Synchronization
import Testing

@testable import XenChannelIO

/// An event channel between two threads (A25): no wake-up is lost, whenever the two sides fall asleep.
struct DoorbellTests {
    /// Two threads that count up in turn: each waits for the other's number. A ring that gets lost leaves both asleep.
    @Test(arguments: [0, 1, 20, Doorbell.defaultPatience])
    func `two sides that take turns never sleep both`(patience: Int) throws {
        let bells = [try Doorbell(), try Doorbell()]
        let number = Atomic(0)
        let last = 4000
        let side: @Sendable (Int) -> Void = { own in
            for turn in stride(from: own, to: last, by: 2) {
                bells[own].wait(patience: patience) { number.load(ordering: .acquiring) == turn }
                number.store(turn + 1, ordering: .releasing)
                bells[1 - own].ring()
            }
        }
        let done = DispatchSemaphore(value: 0)
        for own in 0...1 {
            Thread {
                side(own)
                done.signal()
            }.start()
        }
        for _ in 0...1 {
            let end = done.wait(timeout: .now() + 20)
            try #require(end == .success, "both asleep at \(number.load(ordering: .relaxed))")
        }
        #expect(number.load(ordering: .relaxed) == last)
    }

    @Test func `who is ready neither sleeps nor takes a ring away`() throws {
        let bell = try Doorbell()
        let looks = Atomic(0)
        let done = DispatchSemaphore(value: 0)
        Thread {
            bell.wait(patience: 0) { true }
            bell.ring()
            // That ring ends the sleep before it begins.
            bell.wait(patience: 0) { looks.add(1, ordering: .relaxed).newValue == 2 }
            done.signal()
        }.start()
        #expect(done.wait(timeout: .now() + 20) == .success)
        #expect(looks.load(ordering: .relaxed) == 2)
    }

    @Test func `a late byte of an earlier ring ends a sleep early, and the wait goes on`() throws {
        let bell = try Doorbell()
        let isReady = Atomic(false)
        let looks = Atomic(0)
        // As if a ringer had seen the sleeper, and wrote when that one had risen by himself.
        bell.waker.interrupt()
        let done = DispatchSemaphore(value: 0)
        Thread {
            bell.wait(patience: 0) {
                looks.add(1, ordering: .relaxed)
                return isReady.load(ordering: .acquiring)
            }
            done.signal()
        }.start()
        // Once before the late byte ends the sleep, and once after it.
        while looks.load(ordering: .relaxed) < 2 {
            try #require(done.wait(timeout: .now() + .milliseconds(1)) == .timedOut, "returned without being ready")
        }
        isReady.store(true, ordering: .releasing)
        bell.ring()
        #expect(done.wait(timeout: .now() + 20) == .success)
    }
}
