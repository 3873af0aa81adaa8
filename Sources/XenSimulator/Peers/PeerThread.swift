// SPDX-License-Identifier: MIT

import XenInterface

/// One line of execution of a simulated peer: a kernel's thread, or a daemon. It does one thing after the other, and what it does next is
/// known before it is done.
final class PeerThread {
    /// The next thing.
    enum Call {
        case store(StoreRequest, in: StoreTransactionID, (StoreReply) -> Void)
        case act(() -> Void)
    }

    private(set) var call: Call?
    private var jobs: [() -> Void] = []

    var isIdle: Bool { call == nil && jobs.isEmpty }

    /// The store request that comes next, if one does.
    var request: StoreRequest? {
        if case .store(let request, _, _) = call { request } else { nil }
    }

    /// Does something when all that was added before is done.
    func add(_ job: @escaping () -> Void) {
        jobs.append(job)
        settle()
    }

    /// Asks the store. Only from within a job, with nothing else under way.
    func ask(
        _ request: StoreRequest,
        in transaction: StoreTransactionID = .none,
        then: @escaping (StoreReply) -> Void
    ) {
        precondition(call == nil, "a thread does one thing at a time")
        call = .store(request, in: transaction, then)
    }

    /// Does something that others can see: a hypercall.
    func act(_ body: @escaping () -> Void) {
        precondition(call == nil, "a thread does one thing at a time")
        call = .act(body)
    }

    /// Does the next thing.
    func advance(_ perform: (StoreRequest, StoreTransactionID) -> StoreReply) {
        guard let next = call else { return }
        call = nil
        switch next {
        case .store(let request, let transaction, let then): then(perform(request, transaction))
        case .act(let body): body()
        }
        settle()
    }

    func removeAll() {
        call = nil
        jobs = []
    }

    private func settle() {
        while call == nil, !jobs.isEmpty { jobs.removeFirst()() }
    }
}
