// SPDX-License-Identifier: MIT

package import XenInterface

/// A machine that asks the store for one thing at a time: a single request, or a script of several.
package protocol StoreScriptRunner {
    associatedtype State
    /// What a script can look at besides the work of a state.
    associatedtype Look
    associatedtype Action: StoreScriptAction

    var state: State { get set }
    /// What is in flight.
    var script: StoreScript? { get set }
    /// What is in flight looks at this; nil if it belongs to the state.
    var looking: Look? { get set }

    /// Takes the replies to what the state itself asked for, or to what a look did.
    mutating func finish(
        _ look: Look?,
        _ replies: StoreReplies,
        into actions: inout ActionList<Action>
    )
    /// The store refused what was asked.
    mutating func handleFailure(_ failure: StoreFailure, into actions: inout ActionList<Action>)
    /// Does what is to be done with nothing in flight.
    mutating func react(into actions: inout ActionList<Action>)
}

/// The action of a machine that runs scripts.
package protocol StoreScriptAction {
    static func store(_ request: StoreRequest, in transaction: StoreTransactionID) -> Self
}

extension StoreScriptRunner {
    /// Whether something is in flight. To compare with `nil` would copy it.
    package var isRunning: Bool {
        if case .some = script { true } else { false }
    }

    package mutating func enter(
        _ state: State,
        running steps: [StoreStep],
        transaction: Bool = false,
        keepingReplies: Bool = true,
        into actions: inout ActionList<Action>
    ) {
        self.state = state
        run(steps, transaction: transaction, keepingReplies: keepingReplies, into: &actions)
    }

    /// As with a script of one step, outside of a transaction.
    package mutating func enter(_ state: State, asking step: StoreStep, into actions: inout ActionList<Action>) {
        self.state = state
        ask(step, into: &actions)
    }

    package mutating func look(
        _ look: Look,
        running steps: [StoreStep],
        into actions: inout ActionList<Action>
    ) {
        looking = look
        run(steps, transaction: false, keepingReplies: true, into: &actions)
    }

    /// As with a script of one step.
    package mutating func look(_ look: Look, asking step: StoreStep, into actions: inout ActionList<Action>) {
        looking = look
        ask(step, into: &actions)
    }

    /// Writes a node `state`, in a transaction that does nothing if the node is gone, or was made anew and holds `anew`: a plain write would
    /// make it anew (B17).
    mutating func write(
        _ announced: XenbusState,
        to node: StorePath,
        unless anew: XenbusState? = nil,
        entering state: State,
        into actions: inout ActionList<Action>
    ) {
        self.state = state
        script = StoreScript(writing: announced, to: node, unless: anew)
        actions.append(.store(.beginTransaction, in: .none))
    }

    private mutating func ask(_ step: StoreStep, into actions: inout ActionList<Action>) {
        actions.append(.store(step.request, in: .none))
        script = StoreScript(asking: step)
    }

    private mutating func run(
        _ steps: [StoreStep],
        transaction: Bool,
        keepingReplies: Bool,
        into actions: inout ActionList<Action>
    ) {
        var script = StoreScript(steps, transaction: transaction, keepingReplies: keepingReplies)
        let progress = script.start()
        self.script = consume script
        follow(progress, into: &actions)
    }

    /// Takes the reply to the request in flight; passes over one that nothing asked for.
    package mutating func handle(_ reply: StoreReply, into actions: inout ActionList<Action>) {
        if script?.asksOnce ?? false, let script = script.take() {
            if let failure = script.failure(reply) {
                looking = nil
                handleFailure(failure, into: &actions)
            } else {
                conclude(.one(reply), into: &actions)
            }
        } else if let progress = script?.handle(reply) {
            follow(progress, into: &actions)
        }
    }

    private mutating func follow(
        _ progress: consuming StoreScript.Progress,
        into actions: inout ActionList<Action>
    ) {
        switch progress {
        case .perform(let request, let transaction):
            actions.append(.store(request, in: transaction))
        case .finished(let replies):
            script = nil
            conclude(.several(replies), into: &actions)
        case .failed(let failure):
            script = nil
            looking = nil
            handleFailure(failure, into: &actions)
        }
    }

    private mutating func conclude(_ replies: StoreReplies, into actions: inout ActionList<Action>) {
        let look = looking
        looking = nil
        finish(look, replies, into: &actions)
        react(into: &actions)
    }
}
