// SPDX-License-Identifier: MIT

import XenInterface
import XenStore

// A target for libFuzzer: any bytes, to the decoder and to the store. Not part of the package's build. To compile and run it
// for ten minutes from the top of the checkout, with a folder for what is built:
//
//     B=$(mktemp -d); F="-O -sanitize=fuzzer -parse-as-library -swift-version 6 -package-name xen -I $B"
//     for M in XenRing XenInterface XenStore; do
//         swiftc $F -wmo -emit-module -emit-module-path $B/$M.swiftmodule -module-name $M \
//             -c $(find Sources/$M -name '*.swift') -o $B/$M.o
//     done
//     swiftc $F Tests/StoreFuzz/StoreFuzz.swift $B/*.o -o $B/fuzz
//     $B/fuzz -max_total_time=600 $B/corpus Fixtures/store-corpus
//
// It traps when something is wrong: a request without exactly one reply, a reply that a client cannot read, a leak.

/// Runs one input.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOne(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let input = unsafe [UInt8](UnsafeBufferPointer(start: start, count: count))
    fuzzDecoder(input)
    fuzzServer(input)
    return 0
}

/// The decoder finds the same in one piece and in many.
private func fuzzDecoder(_ input: [UInt8]) {
    var whole = StoreMessageDecoder()
    whole.append(input)
    var pieces = StoreMessageDecoder()
    var found: [StoreMessage] = []
    for byte in input {
        pieces.append([byte])
        while case .message(let message) = pieces.next() { found.append(message) }
    }
    for message in found {
        precondition(whole.next() == .message(message), "other messages in other pieces")
    }
    if case .message = whole.next() { preconditionFailure("more messages in one piece") }
    precondition(whole.next() == pieces.next(), "another end in other pieces")
}

/// Requests of a few clients: each is four bytes (client, operation, transaction, length) and a payload.
private func fuzzServer(_ input: [UInt8]) {
    var store = StoreServer()
    var outputs: [StoreOutput] = []
    var clients = [DomainID.dom0, .dom0, DomainID(1), DomainID(2)].map { store.connect(as: $0) }
    for setup in [
        StoreRequest.introduce(DomainID(1), FrameNumber(1), EventChannelPort(1)), .makeDirectory(.domain(DomainID(1))),
    ] {
        store.perform(setup, on: clients[0], into: &outputs)
    }
    var rest = input[...]
    while rest.count >= 4 {
        let head = Array(rest.prefix(4))
        rest = rest.dropFirst(4)
        let payload = Array(rest.prefix(Int(head[3])))
        rest = rest.dropFirst(payload.count)
        let client = Int(head[0]) % clients.count
        if head[0] == 255 {
            store.disconnect(clients[client])
            clients[client] = store.connect(as: [.dom0, .dom0, DomainID(1), DomainID(2)][client])
            continue
        }
        let message = StoreMessage(
            StoreOperation(UInt32(head[1] % 32)),
            request: 1,
            transaction: StoreTransactionID(rawValue: UInt32(head[2] % 8)),
            payload: payload
        )
        check(message, clients[client], &store)
    }
    for client in store.connectionIDs { store.disconnect(client) }
    precondition(store.watchCount == 0 && store.transactionCount == 0, "something is left of clients that went")
}

private func check(_ message: StoreMessage, _ client: StoreConnectionID, _ store: inout StoreServer) {
    guard store.domain(of: client) != nil else { return }
    var outputs: [StoreOutput] = []
    store.handle(message, from: client, into: &outputs)
    var replies = 0
    for case .message(let answer, let to) in outputs where to == client && !answer.isEvent {
        replies += 1
        precondition(answer.request == 1 && answer.payload.count <= StoreMessage.maximumPayload, "a malformed reply")
        precondition(
            message.operation == .control || StoreReply(answer, to: message.operation) != nil,
            "an unreadable reply"
        )
    }
    precondition(replies == 1, "not one reply")
}
