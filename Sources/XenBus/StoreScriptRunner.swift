// SPDX-License-Identifier: MIT

package import XenInterface

/// A machine that runs scripts of store requests, one at a time.
package protocol StoreScriptRunner {
    associatedtype State
    /// What a script can look at besides the work of a state.
    associatedtype Look
    associatedtype Action: StoreScriptAction

    var state: State { get set }
    var script: StoreScript? { get set }
    /// What the script in flight looks at; nil if it belongs to the state.
    var looking: Look? { get set }

    /// Takes the replies to the state's own script, or to that of a look.
    mutating func finish(
        _ look: Look?,
        _ replies: [StoreReply],
        into actions: inout ActionList<Action>
    )
    /// The store refused a request of the script.
    mutating func handleFailure(_ failure: StoreFailure, into actions: inout ActionList<Action>)
    /// Does what is to be done with nothing in flight.
    mutating func react(into actions: inout ActionList<Action>)
}

/// The action of a machine that runs scripts.
package protocol StoreScriptAction {
    static func store(_ request: StoreRequest, in transaction: StoreTransactionID) -> Self
}

extension StoreScriptRunner {
    /// Whether a script is in flight. To compare with `nil` would copy it.
    package var isRunning: Bool {
        if case .some = script { true } else { false }
    }

    package mutating func enter(
        _ state: State,
        running steps: [StoreStep],
        transaction: Bool = false,
        into actions: inout ActionList<Action>
    ) {
        self.state = state
        run(steps, transaction: transaction, into: &actions)
    }

    package mutating func look(
        _ look: Look,
        running steps: [StoreStep],
        into actions: inout ActionList<Action>
    ) {
        looking = look
        run(steps, transaction: false, into: &actions)
    }

    private mutating func run(
        _ steps: [StoreStep],
        transaction: Bool,
        into actions: inout ActionList<Action>
    ) {
        script = StoreScript(steps, transaction: transaction)
        guard let progress = script?.start() else { return }
        follow(progress, into: &actions)
    }

    /// Takes the reply to the request in flight; passes over one that nothing asked for.
    package mutating func handle(_ reply: StoreReply, into actions: inout ActionList<Action>) {
        guard let progress = script?.handle(reply) else { return }
        follow(progress, into: &actions)
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
            let look = looking
            looking = nil
            finish(look, replies, into: &actions)
            react(into: &actions)
        case .failed(let failure):
            script = nil
            looking = nil
            handleFailure(failure, into: &actions)
        }
    }
}
