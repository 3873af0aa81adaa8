// SPDX-License-Identifier: MIT

import Testing
import XenBus
import XenInterface

struct StoreScriptTests {
    private static let node = StorePath.root.appending("a")
    private let steps = [StoreStep(.read(node), tolerating: [.noEntry]), StoreStep(.write(node, "1"))]
    private let one = StoreTransactionID(rawValue: 1)

    @Test func `a transaction is begun, carried out and committed`() {
        var script = StoreScript(steps, transaction: true)
        #expect(script.start() == .perform(.beginTransaction, in: .none))
        #expect(script.handle(.transaction(one)) == .perform(steps[0].request, in: one))
        #expect(script.handle(.failure(.noEntry)) == .perform(steps[1].request, in: one))
        #expect(script.handle(.done) == .perform(.endTransaction(commit: true), in: one))
        #expect(script.handle(.done) == .finished([.failure(.noEntry), .done]))
    }

    @Test func `a conflict begins it again, a bounded number of times (D38)`() {
        var script = StoreScript([], transaction: true, attempts: 2)
        #expect(script.start() == .perform(.beginTransaction, in: .none))
        #expect(script.handle(.transaction(one)) == .perform(.endTransaction(commit: true), in: one))
        #expect(script.handle(.failure(.again)) == .perform(.beginTransaction, in: .none))
        #expect(script.handle(.transaction(one)) == .perform(.endTransaction(commit: true), in: one))
        let failure = StoreFailure(.endTransaction(commit: true), .again)
        #expect(script.handle(.failure(.again)) == .failed(failure))
    }

    @Test func `a transaction that is begun again has the replies of its last time alone (D37, D38)`() {
        var script = StoreScript(steps, transaction: true)
        _ = script.start()
        for value in ["old", "new"] as [StoreValue] {
            #expect(script.handle(.transaction(one)) == .perform(steps[0].request, in: one))
            #expect(script.handle(.value(value)) == .perform(steps[1].request, in: one))
            #expect(script.handle(.done) == .perform(.endTransaction(commit: true), in: one))
            let next = script.handle(value == "old" ? .failure(.again) : .done)
            let again = StoreScript.Progress.perform(.beginTransaction, in: .none)
            #expect(next == (value == "old" ? again : .finished([.value("new"), .done])))
        }
    }

    @Test(arguments: [StoreErrorCode.accessDenied, .quota, .noSpace, .inputOutput])
    func `a step that fails aborts the transaction; EIO is a conflict (R27)`(code: StoreErrorCode) {
        var script = StoreScript(steps, transaction: true, attempts: 2)
        _ = script.start()
        _ = script.handle(.transaction(one))
        #expect(script.handle(.failure(code)) == .perform(.endTransaction(commit: false), in: one))
        let last = script.handle(.done)
        if code == .inputOutput {
            #expect(last == .perform(.beginTransaction, in: .none))
        } else {
            #expect(last == .failed(StoreFailure(steps[0].request, code)))
        }
    }

    @Test func `a store that refuses to begin, or answers nonsense, fails the script`() {
        for (reply, code) in [(StoreReply.failure(.noSpace), StoreErrorCode.noSpace), (.done, .invalid)] {
            var script = StoreScript(steps, transaction: true)
            _ = script.start()
            #expect(script.handle(reply) == .failed(StoreFailure(.beginTransaction, code)))
        }
    }

    @Test func `replies that nobody asks for are not kept, and change nothing else`() {
        var script = StoreScript(steps, transaction: true, keepingReplies: false)
        _ = script.start()
        #expect(script.handle(.transaction(one)) == .perform(steps[0].request, in: one))
        #expect(script.handle(.value("0")) == .perform(steps[1].request, in: one))
        #expect(script.handle(.failure(.quota)) == .perform(.endTransaction(commit: false), in: one))
        #expect(script.handle(.done) == .failed(StoreFailure(steps[1].request, .quota)))
        var other = StoreScript(steps, transaction: true, keepingReplies: false)
        _ = other.start()
        for reply in [.transaction(one), .value("0"), .done] as [StoreReply] { _ = other.handle(reply) }
        #expect(other.handle(.done) == .finished([]))
    }

    @Test func `a read that finds the state of a node made anew ends the script as if there were none (B17)`() {
        let read = StoreStep(.read(StoreScriptTests.node), refusing: .initialising)
        for (value, isRefused) in [("1", true), ("3", false), ("x", false)] as [(StoreValue, Bool)] {
            var script = StoreScript([read])
            _ = script.start()
            let failure = StoreScript.Progress.failed(StoreFailure(read.request, .noEntry))
            #expect(script.handle(.value(value)) == (isRefused ? failure : .finished([.value(value)])))
        }
    }

    @Test func `a script goes on by itself only where nothing but its next request follows`() {
        var script = StoreScript(steps, transaction: true)
        _ = script.start()
        #expect(script.advance(.failure(.noSpace)) == nil)
        #expect(script.advance(.transaction(one)) ?? (.resetWatches, .none) == (steps[0].request, one))
        #expect(script.advance(.failure(.accessDenied)) == nil)
        #expect(script.advance(.value("0")) ?? (.resetWatches, .none) == (steps[1].request, one))
        #expect(script.advance(.done) ?? (.resetWatches, .none) == (.endTransaction(commit: true), one))
        #expect(script.advance(.done) == nil)
        #expect(script.handle(.done) == .finished([.value("0"), .done]))
        var plain = StoreScript([steps[0]])
        _ = plain.start()
        #expect(plain.advance(.value("0")) == nil)
        #expect(plain.handle(.value("0")) == .finished([.value("0")]))
    }

    @Test func `a script of nothing is done at once`() {
        var script = StoreScript([])
        #expect(script.start() == .finished([]))
    }
}
