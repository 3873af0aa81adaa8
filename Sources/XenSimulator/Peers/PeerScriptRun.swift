// SPDX-License-Identifier: MIT

import XenBus
import XenChannels
import XenInterface

/// How a script ended.
enum PeerOutcome: Hashable {
    case finished
    /// Something is not there yet.
    case stopped
    case failed
}

/// Runs a script of a device, step by step, on one thread.
final class PeerScriptRun {
    private let steps: [PeerStep]
    private let device: PeerDevice
    private let thread: PeerThread
    private let end: (PeerOutcome) -> Void
    private var next = 0
    private var transaction = StoreTransactionID.none
    /// Where the open transaction begins.
    private var start = 0

    private init(
        _ steps: [PeerStep],
        of device: PeerDevice,
        on thread: PeerThread,
        end: @escaping (PeerOutcome) -> Void
    ) {
        self.steps = steps
        self.device = device
        self.thread = thread
        self.end = end
    }

    /// Begins; only from within a job of the thread.
    static func run(
        _ steps: [PeerStep],
        of device: PeerDevice,
        on thread: PeerThread,
        end: @escaping (PeerOutcome) -> Void
    ) {
        PeerScriptRun(steps, of: device, on: thread, end: end).step()
    }

    private func step() {
        guard next < steps.count else { return end(.finished) }
        let step = steps[next]
        next += 1
        switch step {
        case .begin: begin()
        case .commit: commit()
        case .exists(let node): exists(node)
        case .read(let node): read(node) { _ in true }
        case .need(let node): read(node) { $0 != nil }
        case .expect(let node, let value): read(node) { $0 == value }
        case .allow(let node, let value): read(node) { $0 == nil || $0 == value }
        case .write(let node, let value): write(node, value)
        case .rewrite(let node): write(node, device.values[node] ?? "")
        case .complain(let text): complain(text)
        case .writeRing: write(.own("ring-ref"), StoreValue(decimal: device.reference?.rawValue ?? 0))
        case .writePort: write(.own("port"), StoreValue(decimal: device.port?.rawValue ?? 0))
        case .state(let state):
            device.announced = state
            write(.state, state.storeValue)
        case .switchState(let state): switchState(state)
        case .watch(let node): ask(node) { .watch($0, token: self.device.token) }
        case .unwatch(let node): ask(node) { .unwatch($0, token: self.device.token) }
        case .domainPath: thread.ask(.domainPath(device.key.frontend)) { _ in self.step() }
        case .makeRing: makeRing()
        case .attach: attach()
        case .detach:
            thread.act {
                self.device.detach()
                self.step()
            }
        }
    }

    /// Asks something about a node, and goes on whatever the answer is.
    private func ask(_ node: PeerNode, _ request: @escaping (StorePath) -> StoreRequest) {
        guard let path = device.path(of: node) else { return finish(.stopped) }
        thread.ask(request(path), in: transaction) { _ in self.step() }
    }

    private func write(_ node: PeerNode, _ value: StoreValue) {
        ask(node) { .write($0, value) }
    }

    private func complain(_ text: String) {
        let parts = text.split(separator: "%", omittingEmptySubsequences: false)
        let path = StorePath("error/\(device.own)/error")
        guard let path else { return step() }
        thread.ask(.write(path, StoreValue(parts.joined(separator: device.own.text)))) { _ in self.step() }
    }

    private func exists(_ node: PeerNode) {
        guard let path = device.path(of: node) else { return finish(.failed) }
        thread.ask(.directory(path), in: transaction) { reply in
            if case .failure = reply { self.finish(.failed) } else { self.step() }
        }
    }

    private func read(_ node: PeerNode, isFine: @escaping (StoreValue?) -> Bool) {
        guard let path = device.path(of: node) else { return finish(.stopped) }
        thread.ask(.read(path), in: transaction) { reply in
            let value = reply.nodeValue
            self.device.learn(node, value)
            if isFine(value) { self.step() } else { self.finish(.stopped) }
        }
    }

    // MARK: Transactions

    private func begin() {
        start = next - 1
        thread.ask(.beginTransaction) { reply in
            guard case .transaction(let id) = reply else { return self.finish(.failed) }
            self.transaction = id
            self.step()
        }
    }

    private func commit() {
        thread.ask(.endTransaction(commit: true), in: transaction) { reply in
            self.transaction = .none
            if reply == .failure(.again) { self.next = self.start }
            self.step()
        }
    }

    /// `xenbus_switch_state` (B17).
    private func switchState(_ state: XenbusState) {
        guard let path = device.path(of: .state), device.announced != state else { return step() }
        thread.ask(.beginTransaction) { reply in
            guard case .transaction(let id) = reply else { return self.finish(.failed) }
            self.thread.ask(.read(path), in: id) { reply in
                guard reply.nodeValue != nil else {
                    return self.thread.ask(.endTransaction(commit: false), in: id) { _ in self.step() }
                }
                self.thread.ask(.write(path, state.storeValue), in: id) { _ in
                    self.thread.ask(.endTransaction(commit: true), in: id) { reply in
                        if reply == .failure(.again) { return self.switchState(state) }
                        self.device.announced = state
                        self.step()
                    }
                }
            }
        }
    }

    private func finish(_ outcome: PeerOutcome) {
        guard transaction != .none else { return end(outcome) }
        thread.ask(.endTransaction(commit: false), in: transaction) { _ in self.end(outcome) }
    }

    // MARK: Hypercalls

    private func makeRing() {
        thread.act {
            if self.device.makeRing() { self.step() } else { self.finish(.failed) }
        }
    }

    private func attach() {
        guard !device.isAttached else { return finish(.stopped) }
        thread.act {
            if self.device.attach() { self.step() } else { self.finish(.failed) }
        }
    }
}
