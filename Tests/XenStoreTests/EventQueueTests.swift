// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenExploration
import XenInterface

@testable import XenStore

/// Which events a connection's queue merges (D31).
struct EventQueueTests {
    @Test func `an event is merged exactly if an equal one is not sent in full`() {
        checkProperty(cases: 60) { random in
            var queue = StoreOutputQueue()
            var naive = NaiveQueue()
            // Some cases let much pile up, others little.
            let (names, share) = (1 + random.choose(below: 40), 1 + random.choose(below: 8))
            for _ in 0..<600 {
                if random.choose(below: 4) == 0 {
                    let reply = StoreMessage(.read, payload: [UInt8](repeating: 7, count: random.choose(below: 40)))
                    try requireEqual(queue.append(reply), naive.append(reply), "reply")
                }
                let event = randomEvent(&random, names: names)
                let expected = naive.append(event.message)
                let isMessage = random.choose(below: 4) == 0
                try requireEqual(isMessage ? queue.append(event.message) : queue.append(event), expected, "\(event)")
                if random.choose(below: share) == 0 {
                    let count = random.choose(below: queue.byteCount + 1)
                    queue.advance(by: count)
                    naive.sent += count
                }
            }
            let rest = queue.withUnsentBytes { bytes in bytes.indices.map { bytes[$0] } }
            try requireEqual(rest, naive.unsent, "bytes")
        }
    }

    @Test func `several events at once are merged one by one, and none goes beyond the bound`() {
        let events = ["a", "b", "a", "c"].map { event("/x", StoreToken($0)) }
        var queue = StoreOutputQueue(limit: 5000)
        #expect(queue.append(contentsOf: events.span) == .queued)
        #expect(queue.byteCount == 3 * events[0].encodedSize)
        #expect(queue.append(contentsOf: events.span) == .merged)
        let token = StoreToken(String(repeating: "l", count: 4080))
        let long = event("/y", token)
        #expect(queue.append(contentsOf: [long].span) == .queued)
        let more = [long, event("/z", token), events[0]]
        let before = queue.byteCount
        #expect(queue.append(contentsOf: more.span) == .overflow)
        #expect(queue.byteCount == before)
    }

    @Test func `events of one hash are told apart, by path and by token`() throws {
        let token = StoreToken("0123456789abcdef")
        let (path, other) = ("/first", "/other")
        let hashes = [path, other].map { StoreToken($0).hash }
        let events = [
            event(path, token),
            event(path, self.token(ofHash: token.hash)),
            event(
                other,
                self.token(ofHash: mixed(1 ^ hashes[0]) ^ token.hash ^ mixed(1 ^ hashes[1]))
            ),
        ]
        try #require(Set(events.map(\.hash)).count == 1 && Set(events.map(\.message)).count == 3)
        var queue = StoreOutputQueue()
        for event in events { #expect(queue.append(event) == .queued) }
        for event in events { #expect(queue.append(event) == .merged) }
        queue.advance(by: events[0].encodedSize)
        #expect(queue.append(contentsOf: [events[1], events[2]].span) == .merged)
        #expect(queue.append(events[0]) == .queued)
    }

    @Test func `where path and token part matters, and how a text is spelled in bytes`() {
        var queue = StoreOutputQueue()
        let spellings = [("/a", "bc"), ("/ab", "c"), ("/a", "\u{E9}"), ("/a", "e\u{301}")]
        for (path, token) in spellings {
            #expect(queue.append(event(path, StoreToken(token))) == .queued)
        }
    }

    @Test func `a relative path is what is sent of it`() {
        var queue = StoreOutputQueue()
        let relative = event("/local/domain/0/x", prefix: 16, StoreToken("t"))
        #expect(String(decoding: relative.message.payload, as: UTF8.self) == "x\u{0}t\u{0}")
        #expect(queue.append(relative) == .queued)
        #expect(queue.append(event("/local/domain/0/x", StoreToken("t"))) == .queued)
        #expect(queue.append(relative.message) == .merged)
    }

    private func event(_ path: String, prefix: Int32 = 0, _ token: StoreToken) -> StoreEvent {
        StoreEvent(StoreEventSubject(path: path, prefix: prefix), token)
    }

    private func randomEvent(_ random: inout Choices, names: Int) -> StoreEvent {
        let token = StoreToken("token\(random.choose(below: 3))")
        if random.choose(below: 10) == 0 {
            return StoreEvent(StoreEventSubject(special: StoreToken("@releaseDomain")), token)
        }
        let path = "/local/domain/1/\(random.choose(below: names))"
        return event(path, prefix: random.choose(below: 3) == 0 ? 16 : 0, token)
    }

    /// A token of 16 bytes that has a given hash: the second word makes up for the first.
    private func token(ofHash hash: UInt64) -> StoreToken {
        let first: UInt64 = 0x6161_6161_6161_6161
        let words = [first, unmixed(unmixed(hash)) ^ mixed(16 ^ first)]
        return StoreToken(words.flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) } }[...])
    }

    /// What `PathHash` does to each word.
    private func mixed(_ word: UInt64) -> UInt64 {
        let product = word &* 0x9E37_79B9_7F4A_7C15
        return product ^ product >> 32
    }

    private func unmixed(_ hash: UInt64) -> UInt64 {
        // Each round doubles the low bits that are those of the inverse.
        let inverse = (0..<6).reduce(0x9E37_79B9_7F4A_7C15 as UInt64) { inverse, _ in
            inverse &* (2 &- inverse &* 0x9E37_79B9_7F4A_7C15)
        }
        return (hash ^ hash >> 32) &* inverse
    }
}

/// A queue that keeps every message there ever was.
private struct NaiveQueue {
    private var messages: [(bytes: [UInt8], end: Int, isMergeable: Bool)] = []
    private var size = 0
    var sent = 0

    mutating func append(_ message: StoreMessage) -> StoreOutputQueue.Appended {
        let bytes = message.encoded
        let isMergeable = message.isEvent && message.payload.first != UInt8(ascii: "@")
        if isMergeable, messages.contains(where: { $0.isMergeable && $0.end > sent && $0.bytes == bytes }) {
            return .merged
        }
        size += bytes.count
        messages.append((bytes, size, isMergeable))
        return .queued
    }

    var unsent: [UInt8] { Array(messages.flatMap(\.bytes)[sent...]) }
}
