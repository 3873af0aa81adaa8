// SPDX-License-Identifier: MIT

/// Runs tasks in a loop's thread.
///
/// A task that prefers it may use what belongs to that thread: `Task(executorPreference: reactor.executor) { … }`. Its jobs are run as the
/// loop's work is, between two looks at the descriptors, in the order in which they became ready.
public final class ReactorExecutor: TaskExecutor {
    private let waker: Waker
    private let ready = Lock<[UnownedJob]>([])

    init(waking waker: Waker) {
        self.waker = waker
    }

    /// Has the loop run a job. May be called from any thread.
    public func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        ready.withLock { $0.append(job) }
        waker.wake()
    }

    /// Takes what became ready; `jobs` is empty, and is kept for its memory.
    func take(into jobs: inout [UnownedJob]) {
        ready.withLock { swap(&$0, &jobs) }
    }
}
