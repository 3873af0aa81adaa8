// SPDX-License-Identifier: MIT

import Glibc
import Synchronization
import XenChannels

/// One thread's loop: descriptors that become ready, timers, and work that other threads make.
///
/// Not `Sendable`: everything but its `waker` belongs to the thread that runs it.
@safe
public final class Reactor {
    /// What a descriptor is waited for: bits of `poll`.
    struct Readiness: OptionSet {
        let rawValue: Int16

        static let readable = Readiness(rawValue: Int16(POLLIN))
        static let writable = Readiness(rawValue: Int16(POLLOUT))
        /// Reported whether asked for or not.
        static let hungUp = Readiness(rawValue: Int16(POLLHUP))
        /// Reported whether asked for or not.
        static let failed = Readiness(rawValue: Int16(POLLERR | POLLNVAL))
    }

    /// A descriptor in the loop.
    final class Source {
        let descriptor: Descriptor
        fileprivate let handler: (Readiness) -> Void
        fileprivate var index: Int
        fileprivate unowned let reactor: Reactor
        fileprivate var isOpen = true

        fileprivate init(
            _ descriptor: Descriptor,
            _ index: Int,
            _ reactor: Reactor,
            _ handler: @escaping (Readiness) -> Void
        ) {
            self.descriptor = descriptor
            self.index = index
            self.reactor = reactor
            self.handler = handler
        }

        /// What to wait for; nil: not even for a hang-up.
        var interest: Readiness? {
            didSet {
                guard isOpen, interest != oldValue else { return }
                reactor.polled[index].fd = interest == nil ? -1 : descriptor.raw
                reactor.polled[index].events = interest?.rawValue ?? 0
            }
        }

        /// Takes the descriptor out of the loop.
        func cancel() {
            guard isOpen else { return }
            isOpen = false
            reactor.remove(self)
        }
    }

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
    fileprivate var polled: ContiguousArray<pollfd>
    private var sources: ContiguousArray<Source?> = [nil]
    private var hasHoles = false
    private var timers = TimerQueue()
    // Nobody comes back to the list while one entry of it is fetched, appended or taken out.
    @exclusivity(unchecked) private var works: [Reference<Work>] = []
    /// How often the loop has looked for something to do since it was made: a loop at rest does not. May be asked from any thread.
    var turnCount: UInt64 { turns.load(ordering: .relaxed) }
    /// How many pieces of work are looked for.
    var workCount: Int { unsafe works.count }
    private var deferred: [any DeferredWork] = []
    /// What is being done of `deferred`, kept for its memory.
    private var doing: [any DeferredWork] = []
    private let turns = Atomic<UInt64>(0)
    /// Memory for whoever reads from a descriptor: as much as is worth a system call, once a loop.
    let scratch: UnsafeMutableBufferPointer<UInt8>
    /// Memory of queues that are empty now, for those that fill next.
    @exclusivity(unchecked) var spareMemory = SpareMemory()
    private var isStopped = false
    /// Works are being done, and are not to be taken out of the list.
    private var isWorking = false
    private var mustStayAwake = false

    /// How often work may make more work before the descriptors are looked at again.
    private static let turnsBetweenPolls = 128
    static let scratchSize = 65_536
    private static let usualWork = 64

    /// Makes a loop without descriptors.
    public init() throws(SystemError) {
        let waker = try Waker()
        self.waker = waker
        executor = ReactorExecutor(waking: waker)
        // So that what happens seldom at first does not allocate later.
        for _ in 0..<2 {
            swap(&deferred, &doing)
            deferred.reserveCapacity(Reactor.usualWork)
            unsafe jobs.reserveCapacity(Reactor.usualWork)
            unsafe executor.take(into: &jobs)
        }
        unsafe scratch = .allocate(capacity: Reactor.scratchSize)
        polled = [pollfd(fd: waker.readEnd, events: Int16(POLLIN), revents: 0)]
    }

    deinit {
        unsafe scratch.deallocate()
        for work in unsafe works {
            work.use { unsafe $0.reactor = nil }
            work.release()
        }
        // Whoever still holds a source may cancel it later.
        for source in sources { source?.isOpen = false }
    }

    /// Adds a descriptor; `handler` is called with what it is ready for.
    func add(_ descriptor: Descriptor, for interest: Readiness?, handler: @escaping (Readiness) -> Void) -> Source {
        let source = Source(descriptor, polled.count, self, handler)
        polled.append(pollfd(fd: -1, events: 0, revents: 0))
        sources.append(source)
        source.interest = interest
        return source
    }

    /// Calls `action` once after `duration`.
    func after(_ duration: Duration, _ action: @escaping () -> Void) -> Timer {
        let timer = Timer(action)
        start(timer, after: duration)
        return timer
    }

    /// Has a timer fire once after `duration`, and not when it was to fire before.
    func start(_ timer: Timer, after duration: Duration) {
        timers.start(timer, at: Reactor.now() &+ duration.nanoseconds)
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
        deferred.append(work)
    }

    /// Keeps the loop from sleeping in this turn: there is work that waits for the next one.
    func stayAwake() {
        mustStayAwake = true
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
    func turn() {
        waker.setTurned(true)
        defer { waker.setTurned(false) }
        turns.store(turnCount &+ 1, ordering: .relaxed)
        var isBusy = true
        var turns = 0
        while isBusy, turns < Reactor.turnsBetweenPolls, !isStopped {
            isBusy = false
            // What woke this loop until now is found by looking; only what comes later need keep it awake.
            waker.rise()
            if work() { isBusy = true }
            turns += 1
            if !isBusy { isBusy = runDeferred() }
        }
        guard !isStopped else { return }
        // Work that never ends keeps nothing waiting for longer than a turn.
        if isBusy { _ = runDeferred() }
        let timeout = isBusy || mustStayAwake ? 0 : timeUntilTimer()
        mustStayAwake = false
        let sleeps = timeout != 0 && waker.prepareToSleep()
        unsafe polled.withUnsafeMutableBufferPointer { buffer in
            _ = unsafe poll(buffer.baseAddress, nfds_t(buffer.count), sleeps ? timeout : 0)
        }
        if sleeps { waker.rise() }
        if polled[0].revents != 0 {
            polled[0].revents = 0
            waker.drain()
        }
        fireTimers()
        dispatch()
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
        guard !deferred.isEmpty else { return false }
        swap(&deferred, &doing)
        for index in doing.indices { doing[index].runDeferred() }
        doing.removeAll(keepingCapacity: true)
        return true
    }

    private func dispatch() {
        for index in 1..<max(1, polled.count) {
            let events = polled[index].revents
            guard events != 0, let source = sources[index] else { continue }
            polled[index].revents = 0
            source.handler(Readiness(rawValue: events))
        }
        if hasHoles { compact() }
    }

    private func remove(_ source: Source) {
        sources[source.index] = nil
        polled[source.index].fd = -1
        polled[source.index].revents = 0
        hasHoles = true
    }

    /// Closes the holes that cancelled sources left, outside of any walk over them.
    private func compact() {
        hasHoles = false
        var free = 1
        for index in 1..<sources.count {
            guard let source = sources[index] else { continue }
            sources[free] = source
            polled[free] = polled[index]
            source.index = free
            free += 1
        }
        sources.removeSubrange(free...)
        polled.removeSubrange(free...)
    }

    private func timeUntilTimer() -> Int32 {
        guard let next = timers.next() else { return -1 }
        let now = Reactor.now()
        guard next > now else { return 0 }
        // Rounded up: a timer is never early, and never makes the loop spin.
        return Int32(clamping: (next - now + 999_999) / 1_000_000)
    }

    private func fireTimers() {
        guard timers.next() != nil else { return }
        let now = Reactor.now()
        while let action = timers.takeDue(at: now) { action() }
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
