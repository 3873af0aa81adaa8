// SPDX-License-Identifier: MIT

import Glibc
import Synchronization

/// Wakes a reactor that sleeps in `poll`, from any thread; free of system calls while it is awake.
///
/// The sleeper says that it is about to sleep and then looks once more whether there is work; the waker makes work and then looks whether
/// somebody sleeps. Both use one atomic exchange, so that one of the two always sees the other.
public final class Waker: Sendable {
    private static let awake: UInt8 = 0
    private static let asleep: UInt8 = 1
    private static let woken: UInt8 = 2

    private let state = Atomic<UInt8>(Waker.awake)
    /// The thread that turns the loop, while it does.
    private let turner = Atomic<UInt>(0)
    /// There was a wake-up in that thread.
    private let isWokenWithin = Atomic(false)
    let readEnd: Int32
    private let writeEnd: Int32

    /// Makes the pipe that interrupts a sleep in `poll`.
    public convenience init() throws(SystemError) {
        try self.init(isPolled: true)
    }

    /// Makes the pipe that interrupts the sleep, to be polled or to be slept at in `drain()`.
    init(isPolled: Bool) throws(SystemError) {
        var ends: (Int32, Int32) = (-1, -1)
        let result = Descriptor.creating {
            let result = unsafe withUnsafeMutableBytes(of: &ends) { bytes in
                unsafe pipe(bytes.assumingMemoryBound(to: Int32.self).baseAddress)
            }
            guard result == 0 else { return result }
            for end in [ends.0, ends.1] {
                if isPolled || end == ends.1 { _ = fcntl(end, F_SETFL, O_NONBLOCK) }
                _ = fcntl(end, F_SETFD, FD_CLOEXEC)
            }
            return result
        }
        guard result == 0 else { throw SystemError("pipe", "for waking up") }
        readEnd = ends.0
        writeEnd = ends.1
    }

    deinit {
        close(readEnd)
        close(writeEnd)
    }

    /// Makes the reactor turn once more. May be called from any thread.
    public func wake() {
        if isTurnedHere {
            wakeWithin()
        } else if mustInterrupt() {
            interrupt()
        }
    }

    /// Whether this thread turns the loop just now: it is awake then, and stays so with `wakeWithin()`.
    var isTurnedHere: Bool { turner.load(ordering: .relaxed) == Waker.thisThread }

    /// Keeps the loop from sleeping before it has looked. To be called in its thread.
    func wakeWithin() {
        isWokenWithin.store(true, ordering: .relaxed)
    }

    /// Keeps the loop from sleeping before it has looked; whether it sleeps already, and is to be interrupted.
    func mustInterrupt() -> Bool {
        state.exchange(Waker.woken, ordering: .acquiringAndReleasing) == Waker.asleep
    }

    /// Ends the loop's sleep.
    func interrupt() {
        var byte: UInt8 = 0
        _ = unsafe write(writeEnd, &byte, 1)
    }

    /// The calling thread begins or ends a turn of the loop.
    func setTurned(_ isTurned: Bool) {
        turner.store(isTurned ? Waker.thisThread : 0, ordering: .relaxed)
    }

    private static var thisThread: UInt { UInt(pthread_self()) }

    /// Announces the sleep; false if there was a wake-up since the last one, so that it must not be slept.
    func prepareToSleep() -> Bool {
        if isWokenWithin.load(ordering: .relaxed) {
            isWokenWithin.store(false, ordering: .relaxed)
            return false
        }
        let (exchanged, _) = state.compareExchange(
            expected: Waker.awake,
            desired: Waker.asleep,
            ordering: .acquiringAndReleasing
        )
        if !exchanged {
            // An exchange, not a store: it sees all that was done before the wake-up it takes away.
            _ = state.exchange(Waker.awake, ordering: .acquiringAndReleasing)
        }
        return exchanged
    }

    /// Ends the sleep, and forgets the wake-ups until now.
    func rise() {
        isWokenWithin.store(false, ordering: .relaxed)
        if state.load(ordering: .relaxed) == Waker.awake { return }
        _ = state.exchange(Waker.awake, ordering: .acquiringAndReleasing)
    }

    /// Takes what interrupted a sleep out of the pipe. To be called whenever the pipe is readable: the byte of a wake-up may arrive after the
    /// sleep had another end, and would interrupt every later one.
    func drain() {
        var bytes: UInt64 = 0
        _ = unsafe read(readEnd, &bytes, MemoryLayout<UInt64>.size)
    }
}
