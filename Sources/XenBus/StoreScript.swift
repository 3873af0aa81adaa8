// SPDX-License-Identifier: MIT

public import XenInterface

/// The request at which a script ended, and the store's answer.
public struct StoreFailure: Error, Hashable, Sendable {
    /// What was asked.
    public let request: StoreRequest
    /// What was answered.
    public let code: StoreErrorCode

    /// Names a request and its error.
    public init(_ request: StoreRequest, _ code: StoreErrorCode) {
        self.request = request
        self.code = code
    }
}

/// A list of store requests as a value: one in flight at a time, in a transaction if wanted.
///
/// A transaction that meets a conflict is begun again, a bounded number of times. A conflict is `EAGAIN` at commit (D38),
/// or `EIO` within, which C xenstored answers to the removal of a node that others made in the meantime (R27).
public struct StoreScript: Hashable, Sendable {
    /// What to do after `start()` or a reply.
    public enum Progress: Hashable, Sendable {
        /// Send this request and come back with its reply.
        case perform(StoreRequest, in: StoreTransactionID)
        /// Done: a reply for each step, tolerated failures included.
        case finished([StoreReply])
        /// Given up, with nothing applied if it was a transaction.
        case failed(StoreFailure)
    }

    private enum State: Hashable {
        case idle
        case beginning
        case running(StoreTransactionID)
        case committing(StoreTransactionID)
        /// The step at hand was refused.
        case abandoning(StoreErrorCode)
        case ended
    }

    private let steps: [StoreStep]
    private let isTransaction: Bool
    private var attemptsLeft: Int
    private var replies: [StoreReply] = []
    private var state = State.idle

    /// How often a transaction is tried by default. A store that answers `EAGAIN` more often than that is not busy but broken.
    public static let defaultAttempts = 64

    /// Makes a script; `attempts` bounds how often a transaction is tried.
    ///
    /// Traps if `attempts` is not positive.
    public init(_ steps: [StoreStep], transaction isTransaction: Bool = false, attempts: Int = defaultAttempts) {
        precondition(attempts > 0, "a script is tried at least once")
        self.steps = steps
        self.isTransaction = isTransaction
        attemptsLeft = attempts
    }

    /// Begins. Traps if it was begun before.
    public mutating func start() -> Progress {
        precondition(state == .idle, "a script runs once")
        return begin()
    }

    /// Takes the reply to the request that was performed last. Traps if none is in flight.
    public mutating func handle(_ reply: StoreReply) -> Progress {
        switch state {
        case .idle, .ended:
            preconditionFailure("no request is in flight")
        case .beginning:
            return handleBegin(reply)
        case .running(let transaction):
            return handleStep(reply, in: transaction)
        case .committing:
            return handleCommit(reply)
        case .abandoning(let code):
            // The reply to an abort says nothing: the transaction is gone either way.
            let failure = StoreFailure(steps[replies.count].request, code)
            return code == .inputOutput ? again(after: failure) : end(.failed(failure))
        }
    }

    private mutating func begin() -> Progress {
        if replies.isEmpty { replies.reserveCapacity(steps.count) } else { replies.removeAll(keepingCapacity: true) }
        attemptsLeft -= 1
        guard isTransaction else {
            state = .running(.none)
            return next(in: .none)
        }
        state = .beginning
        return .perform(.beginTransaction, in: .none)
    }

    private mutating func handleBegin(_ reply: StoreReply) -> Progress {
        switch reply {
        case .transaction(let id):
            state = .running(id)
            return next(in: id)
        case .failure(let code):
            return end(.failed(StoreFailure(.beginTransaction, code)))
        case .done, .value, .children, .part, .permissions, .flag, .path:
            return end(.failed(StoreFailure(.beginTransaction, .invalid)))
        }
    }

    private mutating func handleStep(_ reply: StoreReply, in transaction: StoreTransactionID) -> Progress {
        if case .failure(let code) = reply, !steps[replies.count].tolerated.contains(code) {
            guard transaction != .none else { return end(.failed(StoreFailure(steps[replies.count].request, code))) }
            state = .abandoning(code)
            return .perform(.endTransaction(commit: false), in: transaction)
        }
        replies.append(reply)
        return next(in: transaction)
    }

    private mutating func next(in transaction: StoreTransactionID) -> Progress {
        if replies.count < steps.count {
            return .perform(steps[replies.count].request, in: transaction)
        }
        guard transaction != .none else { return end(.finished(replies)) }
        state = .committing(transaction)
        return .perform(.endTransaction(commit: true), in: transaction)
    }

    private mutating func handleCommit(_ reply: StoreReply) -> Progress {
        guard case .failure(let code) = reply else { return end(.finished(replies)) }
        let failure = StoreFailure(.endTransaction(commit: true), code)
        return code == .again ? again(after: failure) : end(.failed(failure))
    }

    private mutating func again(after failure: StoreFailure) -> Progress {
        attemptsLeft > 0 ? begin() : end(.failed(failure))
    }

    private mutating func end(_ progress: Progress) -> Progress {
        state = .ended
        return progress
    }
}

extension StoreScript {
    /// Runs the whole script at once on a connection that answers at once.
    public mutating func run(
        on connection: inout some StoreConnection & ~Copyable
    ) throws(StoreFailure) -> [StoreReply] {
        var progress = start()
        while true {
            switch progress {
            case .perform(let request, let transaction):
                progress = handle(connection.perform(request, in: transaction))
            case .finished(let replies):
                return replies
            case .failed(let failure):
                throw failure
            }
        }
    }
}
