// SPDX-License-Identifier: MIT

import XenInterface

/// What a script asks for. The two kinds that most are of take no memory of their own.
enum StoreSteps: Hashable {
    /// One request, outside of a transaction.
    case one(StoreStep)
    /// A node `state` is read, which must be there and not hold `anew`, and is written then.
    case write(XenbusState, to: StorePath, unless: XenbusState?)
    case several([StoreStep])

    var count: Int {
        switch self {
        case .one: 1
        case .write: 2
        case .several(let steps): steps.count
        }
    }

    /// What is asked by the step at `index`.
    func request(_ index: Int) -> StoreRequest {
        switch self {
        case .one(let step): step.request
        case .write(let state, let node, _): index == 0 ? .read(node) : .write(node, state.storeValue)
        case .several(let steps): steps[index].request
        }
    }

    /// Why the script cannot go on after the reply to the step at `index`; nil if it can.
    func refusal(_ reply: StoreReply, at index: Int) -> StoreErrorCode? {
        // Of a step only these are copied.
        switch self {
        case .one(let step):
            StoreStep.failure(reply, tolerating: step.tolerated, refusing: step.refused)
        case .write(_, _, let anew):
            StoreStep.failure(reply, tolerating: [], refusing: index == 0 ? anew : nil)
        case .several(let steps):
            StoreStep.failure(reply, tolerating: steps[index].tolerated, refusing: steps[index].refused)
        }
    }
}
