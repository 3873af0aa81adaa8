// SPDX-License-Identifier: MIT

public import XenBus
public import XenInterface

/// How libxl removes a console device: its frontend, its copy under `/libxl`, its backend, and above each of them the directories that
/// have become empty. There is no walk through the states (R7).
///
/// What comes next depends on what the store answers, so this is a machine: ask for a step, send its request in one transaction, hand
/// over the reply, until there is no further step; then commit, and on `EAGAIN` begin anew with a fresh value. An error that a step does
/// not tolerate is a conflict as well: the transaction is aborted (R27). `run(on:)` does all that.
public struct ConsoleDeviceRemoval: Hashable, Sendable {
    private enum State: Hashable, Sendable {
        /// The node itself is to be removed.
        case remove(StorePath)
        /// The node was removed; the one above is looked at next.
        case removed(StorePath)
        /// Whether the directory holds a value of its own was asked.
        case reading(StorePath)
        /// Whether the directory has children was asked.
        case listing(StorePath)
        case ended
    }

    private var state: State
    private var later: [StorePath]

    /// Plans the removal of a device, the primary console included; `backend` is the domain that serves it.
    public init(of device: DeviceID, in domain: DomainID, backend: DomainID = .dom0) {
        let nodes = ConsoleDeviceNodes(domain: domain, device: device, backendDomain: backend)
        state = .remove(nodes.frontend)
        later = [nodes.toolstack, nodes.backend]
    }

    /// The next step, given the reply to the one before; nil for the first one. Nil at the end.
    ///
    /// An error that the step does not tolerate is the caller's: it aborts the transaction. If it goes on asking, the device's next directory follows.
    public mutating func nextStep(after reply: StoreReply?) -> StoreStep? {
        switch state {
        case .remove(let path):
            state = .removed(path)
            return StoreStep(.remove(path), tolerating: [.noEntry])
        case .removed(let path):
            guard reply == .done, let parent = path.parent, parent != .root else { return nextDirectory() }
            state = .reading(parent)
            return StoreStep(.read(parent), tolerating: [.noEntry])
        case .reading(let path):
            guard case .value(let value) = reply, value.isEmpty else { return nextDirectory() }
            state = .listing(path)
            return StoreStep(.directory(path), tolerating: [.noEntry, .tooBig])
        case .listing(let path):
            guard case .children(let names) = reply, names.isEmpty else { return nextDirectory() }
            state = .remove(path)
            return nextStep(after: nil)
        case .ended:
            return nil
        }
    }

    private mutating func nextDirectory() -> StoreStep? {
        guard !later.isEmpty else {
            state = .ended
            return nil
        }
        state = .remove(later.removeFirst())
        return nextStep(after: nil)
    }
}

extension ConsoleDeviceRemoval {
    /// Removes the device at once, on a connection that answers at once; throws what the store refused each time.
    public func run(on connection: inout some StoreConnection & ~Copyable) throws(StoreFailure) {
        for attempt in 1...StoreScript.defaultAttempts {
            do throws(StoreFailure) {
                return try runOnce(on: &connection)
            } catch {
                guard attempt == StoreScript.defaultAttempts else { continue }
                throw error
            }
        }
    }

    private func runOnce(on connection: inout some StoreConnection & ~Copyable) throws(StoreFailure) {
        let transaction: StoreTransactionID
        switch connection.perform(.beginTransaction, in: .none) {
        case .transaction(let begun): transaction = begun
        case .failure(let code): throw StoreFailure(.beginTransaction, code)
        case .done, .value, .children, .part, .permissions, .flag, .path:
            throw StoreFailure(.beginTransaction, .inputOutput)
        }
        var removal = self
        var reply: StoreReply?
        while let step = removal.nextStep(after: reply) {
            let answer = connection.perform(step.request, in: transaction)
            if case .failure(let code) = answer, !step.tolerated.contains(code) {
                _ = connection.perform(.endTransaction(commit: false), in: transaction)
                throw StoreFailure(step.request, code)
            }
            reply = answer
        }
        let end = StoreRequest.endTransaction(commit: true)
        if case .failure(let code) = connection.perform(end, in: transaction) { throw StoreFailure(end, code) }
    }
}
