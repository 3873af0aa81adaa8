// SPDX-License-Identifier: MIT

import Synchronization

/// Runs tasks in a loop's thread.
///
/// A task that prefers it may use what belongs to that thread: `Task(executorPreference: reactor.executor) { … }`. Its jobs are run as the
/// loop's work is, between two looks at the descriptors, in the order in which they became ready.
public final class ReactorExecutor: TaskExecutor {
    private let waker: Waker
    /// Whether a look is worth the lock; set before the waker is used.
    private let hasReady = Atomic(false)
    private let ready = Lock<[UnownedJob]>([])

    init(waking waker: Waker) {
        self.waker = waker
    }

    /// Has the loop run a job. May be called from any thread.
    public func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        ready.withLock { ready in
            ready.append(job)
            hasReady.store(true, ordering: .releasing)
        }
        waker.wake()
    }

    /// Takes what became ready; `jobs` is empty, and is kept for its memory.
    func take(into jobs: inout [UnownedJob]) {
        guard hasReady.load(ordering: .acquiring) else { return }
        ready.withLock { ready in
            hasReady.store(false, ordering: .relaxed)
            swap(&ready, &jobs)
        }
    }
}
