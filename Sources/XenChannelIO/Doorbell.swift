// SPDX-License-Identifier: MIT

import Glibc

/// An event channel between two threads of one process, that costs a system call only when the other side sleeps.
///
/// For two of our own ends on one page (A25): its sleep flag lies outside the page, and one side looks for work for a while before
/// it sleeps. Against a peer that is not known to do so, an event is sent each time.
///
/// ```swift
/// if try producer.write(bytes) > 0 { toConsumer.ring() }
/// toProducer.wait { (try? producer.freeCapacity() > 0) ?? true }
/// ```
public final class Doorbell: Sendable {
    let waker: Waker

    /// How often `wait` looks before it sleeps, if nothing else is said: about as long as a wake-up takes, some 20 us in a virtual
    /// machine. With a tenth of it one stall of the other side costs a sleep, and the sleep the other side's. Not at all where there is one
    /// processor: while this side looks, the other cannot work.
    public static let defaultPatience = sysconf(Int32(_SC_NPROCESSORS_ONLN)) > 1 ? 10_000 : 0

    /// Makes a bell that nobody has rung.
    public init() throws(SystemError) {
        waker = try Waker(isPolled: false)
    }

    /// Wakes the other side if it sleeps. To be called after the ring's index was stored; it orders the two itself.
    public func ring() {
        waker.wake()
    }

    /// Returns when `isReady` does, having looked `patience` times before it first sleeps.
    ///
    /// One thread at a time waits at a bell. `isReady` is asked again after each ring. A ring between its answer and the sleep prevents
    /// the sleep, so that none is lost.
    public func wait(patience: Int = defaultPatience, until isReady: () -> Bool) {
        for _ in 0..<patience where isReady() { return }
        while !isReady() {
            guard waker.prepareToSleep() else { continue }
            // One call, where to poll and then to read would be two. A byte that arrives too late ends the next sleep early, no more.
            waker.drain()
            waker.rise()
        }
    }
}
