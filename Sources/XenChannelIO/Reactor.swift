// SPDX-License-Identifier: MIT

import Glibc
import Synchronization
import XenChannels

/// One thread's loop: descriptors that become ready, timers, and work that other threads make.
///
/// Not `Sendable`: everything but its `waker` and `executor` belongs to the thread that runs it.
@safe
public final class Reactor {
    /// What a descriptor is waited for.
    typealias Readiness = PolledDescriptors.Readiness
    /// A descriptor in the loop.
    typealias Source = PolledDescriptors.Source
    /// A timer in the loop.
    typealias Timer = TimerQueue.Entry

    /// Work in the loop; stays there until it is cancelled.
    public class Work {
        fileprivate var isOver = false
        /// Where it is, while it is in a loop.
        fileprivate unowned(unsafe) var reactor: Reactor?

        init() {}

        /// Does what there is to do, and returns whether there was anything.
        func look() -> Bool { false }

        /// Takes the work out of the loop. Whoever it refers to unowned does this before it goes.
        public func cancel() {
            isOver = true
            if let reactor = unsafe reactor, !reactor.isWorking { reactor.removeWork() }
        }
    }

    private final class ClosureWork: Work {
        private let body: () -> Bool

        init(_ body: @escaping () -> Bool) {
            self.body = body
        }

        override func look() -> Bool { body() }
    }

    /// Wakes this loop from any thread.
    public let waker: Waker
    /// Runs tasks in the thread that runs this loop.
    public let executor: ReactorExecutor
    @exclusivity(unchecked) private var jobs: [UnownedJob] = []
    private let descriptors: PolledDescriptors
    // As those below, looked at and changed by single steps, none of which comes back here.
    @exclusivity(unchecked) private var timers = TimerQueue()
    // Nobody comes back to the list while one entry of it is fetched, appended or taken out.
    @exclusivity(unchecked) private var works: [Reference<Work>] = []
    /// How often the loop has looked for something to do since it was made: a loop at rest does not. May be asked from any thread.
    var turnCount: UInt64 { turns.load(ordering: .relaxed) }
    /// How many pieces of work are looked for.
    var workCount: Int { unsafe works.count }
    @exclusivity(unchecked) private var deferred: [any DeferredWork] = []
    /// What is being done of `deferred`, kept for its memory.
    @exclusivity(unchecked) private var doing: [any DeferredWork] = []
    private let turns = Atomic<UInt64>(0)
    /// The event that waits alone, of any domain that is served here.
    let loneEvent: LoneEvent
    /// Memory for whoever reads from a descriptor: as much as is worth a system call, once a loop.
    let scratch: UnsafeMutableBufferPointer<UInt8>
    /// Memory of queues that are empty now, for those that fill next.
    @exclusivity(unchecked) var spareMemory = SpareMemory()
    private var isStopped = false
    /// Works are being done, and are not to be taken out of the list.
    private var isWorking = false

    /// How often work may make more work before what else there is has its turn.
    private static let roundsAtOnce = 128
    static let scratchSize = 131_072
    private static let usualWork = 64

    /// Makes a loop without descriptors.
    public init() throws(SystemError) {
        let waker = try Waker()
        self.waker = waker
        descriptors = PolledDescriptors(waking: waker)
        executor = ReactorExecutor(waking: waker)
        loneEvent = LoneEvent(waking: waker)
        // So that what happens seldom at first does not allocate later.
        for _ in 0..<2 {
            unsafe swap(&deferred, &doing)
            unsafe deferred.reserveCapacity(Reactor.usualWork)
            unsafe jobs.reserveCapacity(Reactor.usualWork)
            unsafe executor.take(into: &jobs)
        }
        unsafe scratch = .allocate(capacity: Reactor.scratchSize)
    }

    deinit {
        unsafe scratch.deallocate()
        for work in unsafe works {
            work.use { unsafe $0.reactor = nil }
            work.release()
        }
    }

    /// Adds a descriptor; `handler` is called with what it is ready for.
    func add(_ descriptor: Descriptor, for interest: Readiness?, handler: @escaping (Readiness) -> Void) -> Source {
        descriptors.add(descriptor, for: interest, handler: handler)
    }

    /// Calls `action` once after `duration`.
    func after(_ duration: Duration, _ action: @escaping () -> Void) -> Timer {
        let timer = Timer(action)
        start(timer, after: duration)
        return timer
    }

    /// Has a timer fire once after `duration`, and not when it was to fire before.
    func start(_ timer: Timer, after duration: Duration) {
        unsafe timers.start(timer, at: Reactor.now() &+ duration.nanoseconds)
    }

    /// Adds work that is looked for at each turn; it returns whether it found any.
    @discardableResult
    public func addWork(_ work: @escaping () -> Bool) -> Work {
        let work = ClosureWork(work)
        add(work)
        return work
    }

    /// Adds work of its own kind.
    func add(_ work: Work) {
        unsafe work.reactor = self
        unsafe works.append(Reference(retaining: work))
    }

    /// Has `work` done before the loop next looks at its descriptors, as soon as there is no other work left.
    func later(_ work: any DeferredWork) {
        unsafe deferred.append(work)
    }

    /// Runs until `stop()`; the calling thread's `SIGPIPE` is blocked meanwhile and stays so.
    public func run() {
        Reactor.blockBrokenPipeSignal()
        isStopped = false
        while !isStopped {
            turn()
        }
    }

    /// Keeps a write to somebody who has gone away from ending the process.
    static func blockBrokenPipeSignal() {
        var signals = sigset_t()
        unsafe sigemptyset(&signals)
        unsafe sigaddset(&signals, SIGPIPE)
        unsafe pthread_sigmask(SIG_BLOCK, &signals, nil)
    }

    /// Ends `run()` after the current turn. To be called from within the loop.
    public func stop() {
        isStopped = true
    }

    /// Looks for work until there is none, waits for descriptors and timers, and serves them once.
    ///
    /// What a descriptor brought is brought to its end before the next one has its turn: all that it needs is in the processor's cache then,
    /// which is several times as fast as to take one step of each of a thousand channels after the other.
    func turn() {
        waker.setTurned(true)
        defer { waker.setTurned(false) }
        turns.store(turnCount &+ 1, ordering: .relaxed)
        let isBusy = settle()
        guard !isStopped else { return }
        let timeout = isBusy ? 0 : timeUntilTimer()
        let sleeps = timeout != 0 && waker.prepareToSleep()
        descriptors.wait(sleeps ? timeout : 0)
        if sleeps { waker.rise() }
        fireTimers()
        descriptors.dispatch { _ = settle() }
    }

    /// Works until there is nothing to do, or others must have their turn; returns whether that was so.
    private func settle() -> Bool {
        loneEvent.refill()
        for _ in 0..<Reactor.roundsAtOnce {
            guard !isStopped else { return false }
            // What woke this loop until now is found by looking; only what comes later need keep it awake.
            waker.rise()
            guard work() || runDeferred() else { return false }
        }
        // Work that never ends keeps nothing waiting for longer.
        _ = runDeferred()
        return true
    }

    /// Does each piece of work once; returns whether any found something to do.
    private func work() -> Bool {
        var isBusy = runJobs()
        var isOver = false
        isWorking = true
        defer { isWorking = false }
        var index = 0
        // By index: the iterator of an array allocates in a debug build. What is added meanwhile is looked at as well.
        while unsafe index < works.count {
            unsafe works[index].use { work in
                if !work.isOver, work.look() { isBusy = true }
                if work.isOver { isOver = true }
            }
            index += 1
        }
        if isOver { removeWork() }
        return isBusy
    }

    private func removeWork() {
        unsafe works.removeAll { work in
            guard work.use(\.isOver) else { return false }
            work.use { unsafe $0.reactor = nil }
            work.release()
            return true
        }
    }

    /// Runs the tasks that are ready; returns whether there was any.
    private func runJobs() -> Bool {
        unsafe executor.take(into: &jobs)
        guard unsafe !jobs.isEmpty else { return false }
        for index in unsafe jobs.indices {
            unsafe jobs[index].runSynchronously(on: executor.asUnownedTaskExecutor())
        }
        unsafe jobs.removeAll(keepingCapacity: true)
        return true
    }

    /// Does what was put off; returns whether there was anything.
    private func runDeferred() -> Bool {
        guard unsafe !deferred.isEmpty else { return false }
        unsafe swap(&deferred, &doing)
        for index in unsafe doing.indices { unsafe doing[index].runDeferred() }
        unsafe doing.removeAll(keepingCapacity: true)
        return true
    }

    private func timeUntilTimer() -> Int32 {
        guard let next = unsafe timers.next() else { return -1 }
        let now = Reactor.now()
        guard next > now else { return 0 }
        // Rounded up: a timer is never early, and never makes the loop spin.
        return Int32(clamping: (next - now + 999_999) / 1_000_000)
    }

    private func fireTimers() {
        guard unsafe timers.next() != nil else { return }
        let now = Reactor.now()
        while let action = unsafe timers.takeDue(at: now) { action() }
    }

    /// Nanoseconds of the monotonic clock.
    static func now() -> UInt64 {
        var time = timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
    }
}

/// Work that may wait until the end of a turn.
protocol DeferredWork: AnyObject {
    /// Does it.
    func runDeferred()
}

extension Duration {
    /// The duration in nanoseconds; negative durations count as none.
    var nanoseconds: UInt64 {
        let (seconds, attoseconds) = components
        return seconds < 0 ? 0 : UInt64(seconds) &* 1_000_000_000 &+ UInt64(max(0, attoseconds) / 1_000_000_000)
    }
}
