// SPDX-License-Identifier: MIT

import Foundation
import Synchronization
import Testing

@testable import XenChannelIO

/// An event channel between two threads (A25): no wake-up is lost, whenever the two sides fall asleep.
@Suite(.timeLimit(.minutes(1)))
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
        Thread {
            side(1)
            done.signal()
        }.start()
        side(0)
        done.wait()
        #expect(number.load(ordering: .relaxed) == last)
    }

    @Test func `who is ready neither sleeps nor takes a ring away`() throws {
        let bell = try Doorbell()
        bell.wait(patience: 0) { true }
        bell.ring()
        var looks = 0
        // The ring above ends the first sleep before it begins.
        bell.wait(patience: 0) {
            looks += 1
            return looks == 2
        }
        #expect(looks == 2)
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
        // Twice before the late byte, and twice before the sleep that lasts.
        while looks.load(ordering: .relaxed) < 4 { usleep(100) }
        #expect(done.wait(timeout: .now()) == .timedOut)
        isReady.store(true, ordering: .releasing)
        bell.ring()
        done.wait()
    }
}
