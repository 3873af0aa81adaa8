// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenExploration
import XenInterface
import XenStore

struct CodecTests {
    @Test func `a header is four little-endian words`() {
        let message = StoreMessage(
            .write,
            request: 0x0102_0304,
            transaction: StoreTransactionID(rawValue: 7),
            payload: [0x2F, 0]
        )
        #expect(message.encoded == [11, 0, 0, 0, 4, 3, 2, 1, 7, 0, 0, 0, 2, 0, 0, 0, 0x2F, 0])
    }

    @Test func `messages come back whole from any pieces`() {
        checkProperty(cases: 50) { random in
            let messages = (0..<20).map { _ in
                StoreMessage(
                    StoreOperation(UInt32(random.choose(below: 30))),
                    request: random.integer(in: UInt32.min...UInt32.max),
                    transaction: StoreTransactionID(rawValue: UInt32(random.choose(below: 3))),
                    payload: (0..<random.pick(from: [0, 1, 15, 16, 17, 4096])).map { UInt8(truncatingIfNeeded: $0) }
                )
            }
            let wire = messages.flatMap(\.encoded)
            var decoder = StoreMessageDecoder()
            var decoded: [StoreMessage] = []
            var position = 0
            while position < wire.count {
                let end = min(wire.count, position + 1 + random.choose(below: random.pick(from: [1, 5, 40, 9000])))
                decoder.append(Array(wire[position..<end]).span)
                position = end
                while case .message(let message) = decoder.next() { decoded.append(message) }
            }
            try requireEqual(decoded, messages, "messages")
            try requireEqual(decoder.isMidMessage, false, "bytes left")
        }
    }

    @Test func `a payload of 4096 bytes passes and one byte more never does`() {
        var decoder = StoreMessageDecoder()
        let longest = StoreMessage(.write, payload: [UInt8](repeating: 1, count: 4096))
        decoder.append(longest.encoded)
        #expect(decoder.next() == .message(longest))
        decoder.append(StoreMessage(.write, payload: [UInt8](repeating: 1, count: 4097)).encoded)
        #expect(decoder.next() == .protocolError(length: 4097))
        decoder.append(StoreMessage(.read, payload: [0]).encoded)
        #expect(decoder.next() == .protocolError(length: 4097))
    }

    @Test func `a header that is not whole is waited for, however absurd`() {
        var decoder = StoreMessageDecoder()
        decoder.append([UInt8](repeating: 0xFF, count: 15))
        #expect(decoder.next() == .needMore)
        decoder.append([0xFF])
        #expect(decoder.next() == .protocolError(length: .max))
    }

    @Test func `any bytes give an answer`() {
        checkProperty(cases: 200) { random in
            var decoder = StoreMessageDecoder()
            decoder.append((0..<random.choose(below: 100)).map { _ in UInt8(random.pick(from: [0, 1, 2, 16, 255])) })
            while case .message = decoder.next() {}
        }
    }

    @Test(
        arguments: [
            (.read, StoreMessage(.read, payload: [1, 2]), .value(StoreValue([1, 2]))),
            (.read, StoreMessage(.write, payload: [0x4F, 0x4B, 0]), nil),
            (.write, StoreMessage(.write, payload: [0x4F, 0x4B]), nil),
            (.write, StoreMessage(.error, payload: Array("EQUOTA\u{0}".utf8)), .failure(.quota)),
            (.write, StoreMessage(.error, payload: Array("EWHAT\u{0}".utf8)), .failure(.invalid)),
            (.write, StoreMessage(.error, payload: Array("EINVAL".utf8)), nil),
            (.directory, StoreMessage(.directory, payload: []), .children([])),
            (.directory, StoreMessage(.directory, payload: [0x61]), nil),
            (
                .directoryPart, StoreMessage(.directoryPart, payload: Array("21\u{0}a\u{0}b\u{0}".utf8)),
                .part(generation: 21, children: ["a", "b"], isLast: false)
            ),
            (
                .directoryPart, StoreMessage(.directoryPart, payload: Array("21\u{0}\u{0}".utf8)),
                .part(generation: 21, children: [], isLast: true)
            ),
            (.directoryPart, StoreMessage(.directoryPart, payload: Array("x\u{0}\u{0}".utf8)), nil),
            (.getPermissions, StoreMessage(.getPermissions, payload: Array("n0\u{0}q1\u{0}".utf8)), nil),
            (.transactionStart, StoreMessage(.transactionStart, payload: Array("-1\u{0}".utf8)), nil),
            (.isDomainIntroduced, StoreMessage(.isDomainIntroduced, payload: Array("T\u{0}".utf8)), .flag(true)),
            (.isDomainIntroduced, StoreMessage(.isDomainIntroduced, payload: Array("X\u{0}".utf8)), nil),
        ] as [(StoreOperation, StoreMessage, StoreReply?)]
    )
    func `a reply is read off the wire, or is malformed`(
        operation: StoreOperation,
        message: StoreMessage,
        expected: StoreReply?
    ) {
        #expect(StoreReply(message, to: operation) == expected)
    }

    @Test func `operations have the names of the header`() {
        #expect(StoreOperation.directoryPart.description == "DIRECTORY_PART")
        #expect(StoreOperation(20).description == "20")
        #expect(StoreOperation(.max).description == "4294967295")
    }
}

struct OutputQueueTests {
    private let event = StoreMessage(.watchEvent, payload: Array("/a\u{0}t\u{0}".utf8))
    private let reply = StoreMessage(.write, request: 1, payload: [0x4F, 0x4B, 0])

    @Test func `an event that waits absorbs equal ones, and no others`() {
        var queue = StoreOutputQueue()
        #expect(queue.append(event) == .queued)
        #expect(queue.append(reply) == .queued)
        #expect(queue.append(event) == .merged)
        #expect(queue.append(StoreMessage(.watchEvent, payload: Array("/a\u{0}u\u{0}".utf8))) == .queued)
        #expect(queue.append(reply) == .queued)
        let special = StoreMessage(.watchEvent, payload: Array("@releaseDomain\u{0}t\u{0}".utf8))
        #expect(queue.append(special) == .queued)
        #expect(queue.append(special) == .queued)
    }

    @Test func `an event that is half sent still absorbs, one that is sent does not`() {
        var queue = StoreOutputQueue()
        #expect(queue.append(event) == .queued)
        queue.advance(by: event.encodedSize - 1)
        #expect(queue.append(event) == .merged)
        queue.advance(by: 1)
        #expect(queue.isEmpty)
        #expect(queue.append(event) == .queued)
    }

    @Test func `the bound refuses a message and keeps the others`() {
        var queue = StoreOutputQueue(limit: 5000)
        let large = StoreMessage(.read, payload: [UInt8](repeating: 0, count: 4096))
        #expect(queue.append(large) == .queued)
        #expect(queue.append(large) == .overflow)
        #expect(queue.append(reply) == .queued)
        #expect(queue.byteCount == large.encodedSize + reply.encodedSize)
        #expect(queue.unsentReplyCount == 2)
    }

    @Test func `what goes in comes out in order, however it is sent`() {
        checkProperty(cases: 30) { random in
            var queue = StoreOutputQueue()
            var expected: [UInt8] = []
            var sent: [UInt8] = []
            for _ in 0..<300 {
                let isEvent = random.choose(below: 2) == 0
                let payload = [UInt8](repeating: UInt8(random.choose(below: 4)), count: random.choose(below: 30))
                let message = StoreMessage(isEvent ? .watchEvent : .read, payload: payload)
                if queue.append(message) == .queued { expected += message.encoded }
                let count = random.choose(below: queue.byteCount + 1)
                queue.withUnsentBytes { bytes in
                    for index in 0..<count { sent.append(bytes[index]) }
                }
                queue.advance(by: count)
            }
            queue.withUnsentBytes { bytes in
                for index in bytes.indices { sent.append(bytes[index]) }
            }
            queue.advance(by: queue.byteCount)
            try requireEqual(sent, expected, "bytes")
            try requireEqual(queue.unsentReplyCount, 0, "replies")
        }
    }
}
