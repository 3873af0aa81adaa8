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

    private let steps: StoreSteps
    private let isTransaction: Bool
    private let keepsReplies: Bool
    private var attemptsLeft: Int32
    /// How many steps were answered.
    private var position: Int32 = 0
    private var replies: [StoreReply] = []
    private var state = State.idle

    /// How often a transaction is tried by default. A store that answers `EAGAIN` more often than that is not busy but broken.
    public static let defaultAttempts = 64

    /// Makes a script; `attempts` bounds how often a transaction is tried, and `keepingReplies` says whether anybody asks for the replies:
    /// without, there are none when it is done.
    ///
    /// Traps if `attempts` is not positive, or above `Int32.max`.
    public init(
        _ steps: [StoreStep],
        transaction isTransaction: Bool = false,
        keepingReplies keepsReplies: Bool = true,
        attempts: Int = defaultAttempts
    ) {
        precondition(attempts > 0, "a script is tried at least once")
        self.steps = .several(steps)
        self.isTransaction = isTransaction
        self.keepsReplies = keepsReplies
        attemptsLeft = Int32(attempts)
    }

    /// Makes a script that was begun with its one step.
    init(asking step: StoreStep) {
        steps = .one(step)
        isTransaction = false
        keepsReplies = false
        attemptsLeft = 0
        state = .running(.none)
    }

    /// Makes a script that writes a node `state` in a transaction, unless the node is gone or holds `anew`, and that was begun with
    /// `beginTransaction`.
    init(writing state: XenbusState, to node: StorePath, unless anew: XenbusState?) {
        steps = .write(state, to: node, unless: anew)
        isTransaction = true
        keepsReplies = false
        attemptsLeft = Int32(StoreScript.defaultAttempts) - 1
        self.state = .beginning
    }

    /// Whether it has one step, to whose reply `failure(_:)` is to say what comes of it.
    var asksOnce: Bool { if case .one = steps { true } else { false } }

    /// Why a script of one step ends at its reply; nil if it is done.
    func failure(_ reply: StoreReply) -> StoreFailure? {
        refusal(reply).map { StoreFailure(steps.request(0), $0) }
    }

    /// Begins. Traps if it was begun before.
    public mutating func start() -> Progress {
        precondition(state == .idle, "a script runs once")
        return begin()
    }

    /// Takes the reply to the request that was performed last. Traps if none is in flight.
    public mutating func handle(_ reply: StoreReply) -> Progress {
        if let next = advance(reply) { return .perform(next.request, in: next.transaction) }
        switch state {
        case .idle, .ended:
            preconditionFailure("no request is in flight")
        case .beginning:
            let code = if case .failure(let code) = reply { code } else { StoreErrorCode.invalid }
            return end(.failed(StoreFailure(.beginTransaction, code)))
        case .running(let transaction):
            return handleStep(reply, in: transaction)
        case .committing:
            return handleCommit(reply)
        case .abandoning(let code):
            // The reply to an abort says nothing: the transaction is gone either way.
            let failure = StoreFailure(steps.request(Int(position)), code)
            return code == .inputOutput ? again(after: failure) : end(.failed(failure))
        }
    }

    /// Takes a reply after which the script goes on with its next request; nil for any other, which `handle` is to have, with nothing changed.
    package mutating func advance(_ reply: StoreReply) -> (request: StoreRequest, transaction: StoreTransactionID)? {
        switch state {
        case .beginning:
            guard case .transaction(let id) = reply else { return nil }
            state = .running(id)
            return next(in: id)
        case .running(let transaction):
            guard transaction != .none || Int(position) + 1 < steps.count, refusal(reply) == nil else { return nil }
            note(reply)
            return next(in: transaction)
        case .idle, .committing, .abandoning, .ended:
            return nil
        }
    }

    /// Why the script cannot go on after the reply to the step at hand.
    private func refusal(_ reply: StoreReply) -> StoreErrorCode? {
        steps.refusal(reply, at: Int(position))
    }

    private mutating func note(_ reply: StoreReply) {
        position += 1
        if keepsReplies { replies.append(reply) }
    }

    /// The next step; the commit behind the last one.
    private mutating func next(
        in transaction: StoreTransactionID
    ) -> (request: StoreRequest, transaction: StoreTransactionID) {
        if Int(position) < steps.count { return (steps.request(Int(position)), transaction) }
        state = .committing(transaction)
        return (.endTransaction(commit: true), transaction)
    }

    private mutating func begin() -> Progress {
        position = 0
        if !replies.isEmpty {
            replies.removeAll(keepingCapacity: true)
        } else if keepsReplies {
            replies.reserveCapacity(steps.count)
        }
        attemptsLeft -= 1
        if isTransaction {
            state = .beginning
            return .perform(.beginTransaction, in: .none)
        }
        state = .running(.none)
        guard steps.count > 0 else { return end(.finished([])) }
        return .perform(steps.request(0), in: .none)
    }

    /// The step at hand was refused, or was the last one outside of a transaction.
    private mutating func handleStep(_ reply: StoreReply, in transaction: StoreTransactionID) -> Progress {
        guard let code = refusal(reply) else {
            note(reply)
            return end(.finished(replies))
        }
        guard transaction != .none else { return end(.failed(StoreFailure(steps.request(Int(position)), code))) }
        state = .abandoning(code)
        return .perform(.endTransaction(commit: false), in: transaction)
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
