// SPDX-License-Identifier: MIT

import Glibc
public import XenInterface
import XenStore

/// A client of a xenstore on a Unix socket, for Swift concurrency: this project's server, or the real xenstored.
///
/// Requests from any number of tasks share one connection, and are answered in order. One thread serves the socket; it sleeps while nothing
/// happens.
///
/// ```swift
/// let store = try StoreClient(path: "/run/xenstored/socket")
/// let name = try await store.read(.domain(DomainID(1)).appending("name"))
/// for await change in try await store.watch(.domain(DomainID(1))) { print(change.path) }
/// ```
public final class StoreClient: Sendable {
    /// Where the store listens.
    public let path: String
    private let loop: StoreClientLoop

    /// Connects to the store at `path`.
    public init(path: String) throws(SystemError) {
        self.path = path
        loop = try StoreClientLoop(path: path)
    }

    deinit {
        loop.stop()
    }

    /// Sends one request and returns its reply, refusals included.
    ///
    /// Throws if the connection is lost, or was before. A task that is cancelled still waits for the reply, since the store carries the request
    /// out all the same.
    public func perform(
        _ request: StoreRequest,
        in transaction: StoreTransactionID = .none
    ) async throws(XenStoreError) -> StoreReply {
        let message = await loop.exchange(request, in: transaction)
        guard let message else { throw XenStoreError(request, .connectionLost(path)) }
        guard let reply = StoreReply(message, to: request.operation) else {
            throw XenStoreError(request, .protocolBroken)
        }
        return reply
    }

    /// A node's value.
    public func read(
        _ node: StorePath,
        in transaction: StoreTransactionID = .none
    ) async throws(XenStoreError) -> StoreValue {
        let request = StoreRequest.read(node)
        guard case .value(let value) = try await succeed(request, in: transaction) else {
            throw XenStoreError(request, .protocolBroken)
        }
        return value
    }

    /// The names of a node's children, in the store's order; listings beyond one message are read in parts (D20).
    public func list(
        _ node: StorePath,
        in transaction: StoreTransactionID = .none
    ) async throws(XenStoreError) -> [String] {
        let request = StoreRequest.directory(node)
        switch try await perform(request, in: transaction) {
        case .children(let names): return names
        case .failure(.tooBig): return try await listInParts(node, in: transaction)
        case .failure(let code): throw XenStoreError(request, .refused(code))
        case .done, .value, .part, .permissions, .transaction, .flag, .path:
            throw XenStoreError(request, .protocolBroken)
        }
    }

    /// Sets a node's value, making it and its ancestors as needed.
    public func write(
        _ node: StorePath,
        _ value: StoreValue,
        in transaction: StoreTransactionID = .none
    ) async throws(XenStoreError) {
        _ = try await succeed(.write(node, value), in: transaction)
    }

    /// Removes a node and all below.
    public func remove(_ node: StorePath, in transaction: StoreTransactionID = .none) async throws(XenStoreError) {
        _ = try await succeed(.remove(node), in: transaction)
    }

    /// Watches a node and all below; the first event comes at once, and each means "look again" (D27, D31).
    ///
    /// The watch is dropped when the iteration ends. Events that nobody takes are merged with equal ones, so that what waits is bounded by what
    /// can change. The sequence ends when the connection is lost.
    public func watch(_ node: StorePath, depth: UInt32? = nil) async throws(XenStoreError) -> StoreWatch {
        let watch = loop.makeWatch()
        let request = StoreRequest.watch(node, token: watch.token, depth: depth)
        do throws(XenStoreError) {
            _ = try await succeed(request, in: .none)
        } catch {
            loop.drop(watch.token)
            throw error
        }
        return StoreWatch(watch, of: node, on: self)
    }

    /// Runs `body` in a transaction, again if it met a conflict, at most `attempts` times (D38, R27).
    ///
    /// `body` passes the transaction it is given to each request, and may run several times. If it throws, the transaction is
    /// dropped and the error thrown on. Traps unless `attempts` is positive.
    public func transaction<Result>(
        attempts: Int = 64,
        _ body: (StoreTransactionID) async throws(XenStoreError) -> Result
    ) async throws(XenStoreError) -> Result {
        precondition(attempts > 0, "a transaction is tried at least once")
        var left = attempts
        while true {
            left -= 1
            guard case .transaction(let id) = try await succeed(.beginTransaction, in: .none) else {
                throw XenStoreError(.beginTransaction, .protocolBroken)
            }
            let result: Result
            do throws(XenStoreError) {
                result = try await body(id)
            } catch {
                _ = try? await perform(.endTransaction(commit: false), in: id)
                guard error.reason == .refused(.inputOutput), left > 0 else { throw error }
                continue
            }
            let end = StoreRequest.endTransaction(commit: true)
            switch try await perform(end, in: id) {
            case .failure(.again) where left > 0: continue
            case .failure(let code): throw XenStoreError(end, .refused(code))
            case .done, .value, .children, .part, .permissions, .transaction, .flag, .path: return result
            }
        }
    }

    /// The reply to a request that must not be refused.
    private func succeed(
        _ request: StoreRequest,
        in transaction: StoreTransactionID
    ) async throws(XenStoreError) -> StoreReply {
        let reply = try await perform(request, in: transaction)
        if case .failure(let code) = reply { throw XenStoreError(request, .refused(code)) }
        return reply
    }

    private func listInParts(
        _ node: StorePath,
        in transaction: StoreTransactionID
    ) async throws(XenStoreError) -> [String] {
        var names: [String] = []
        var offset: UInt32 = 0
        var generation: UInt64?
        while true {
            let request = StoreRequest.directoryPart(node, offset: offset)
            // A part that is empty and not the last would be asked for again and again.
            guard case .part(let seen, let more, let isLast) = try await succeed(request, in: transaction),
                isLast || !more.isEmpty
            else { throw XenStoreError(request, .protocolBroken) }
            if let first = generation, first != seen {
                // The directory changed between two parts: from the start.
                (names, offset, generation) = ([], 0, nil)
                continue
            }
            generation = seen
            names += more
            if isLast { return names }
            offset += more.reduce(0) { $0 + UInt32($1.utf8.count) + 1 }
        }
    }

    func unwatch(_ node: StorePath, token: String) {
        loop.drop(token)
        loop.send(.unwatch(node, token: token))
    }
}

/// A request to a store that came to nothing: which one, and why.
public struct XenStoreError: Error, Hashable, Sendable {
    /// Why.
    public enum Reason: Hashable, Sendable {
        /// The store refused.
        case refused(StoreErrorCode)
        /// The store at this path is gone.
        case connectionLost(String)
        /// What came back is no answer to the request.
        case protocolBroken
    }

    /// What was asked.
    public let request: StoreRequest
    /// Why it came to nothing.
    public let reason: Reason

    /// Names a request and what became of it.
    public init(_ request: StoreRequest, _ reason: Reason) {
        self.request = request
        self.reason = reason
    }
}

extension XenStoreError: CustomStringConvertible {
    /// One line for a person.
    public var description: String {
        switch reason {
        case .refused(let code): "\(request): the store answered \(code)"
        case .connectionLost(let path): "\(request): the store at \(path) is gone"
        case .protocolBroken: "\(request): the store's answer makes no sense"
        }
    }
}
