// SPDX-License-Identifier: MIT

import XenHypervisor
import XenInterface
import XenRing
import XenStore

/// A guest's end of its xenstore ring, with the event channel: what the xenbus driver of its kernel is.
final class GuestStoreRing {
    private let host: LiveHost
    private let domain: DomainID
    private let page: PageMemory
    private let port: EventChannelPort
    private var client: StoreRingClient<SharedPage>
    private var nextRequest: UInt32 = 1

    init(of domain: DomainID, in host: LiveHost, page: PageMemory, port: EventChannelPort) {
        self.host = host
        self.domain = domain
        self.page = page
        self.port = port
        client = StoreRingClient(introduced: page.page)
    }

    /// Sends one request and takes what comes until its reply is there.
    ///
    /// The store serves the ring before a notification returns, so that this never sleeps: a reply that is not there when
    /// there is nothing left to send will never come.
    func perform(
        _ request: StoreRequest,
        in transaction: StoreTransactionID,
        onEvent: (StoreWatchEvent) -> Void
    ) -> StoreReply {
        let number = nextRequest
        nextRequest &+= 1
        let message = request.message(request: number, in: transaction)
        // As Linux answers: the store would break off.
        guard message.payload.count <= StoreMessage.maximumPayload else { return .failure(.tooBig) }
        let bytes = message.encoded
        var sent = 0
        var reply: StoreReply?
        var isMoving = true
        while isMoving, reply == nil {
            sent += client.send(bytes.span.extracting(sent...))
            isMoving = notify()
            // All that came is taken, also what came behind the reply: nobody would be told of it again.
            while case .message(let message) = client.receive() {
                isMoving = true
                if let event = StoreWatchEvent(message) {
                    onEvent(event)
                } else if message.request == number {
                    reply = StoreReply(message, to: request.operation)
                }
            }
        }
        notify()
        return reply ?? .failure(.inputOutput)
    }

    /// Takes the events that have come.
    func takeEvents(_ onEvent: (StoreWatchEvent) -> Void) {
        guard client.hasInput() else { return }
        while case .message(let message) = client.receive() {
            if let event = StoreWatchEvent(message) { onEvent(event) }
        }
        notify()
    }

    /// Tells the store if bytes were given or taken; returns whether there was anything to tell.
    @discardableResult
    private func notify() -> Bool {
        guard client.takeNotification() else { return false }
        try? host.notify(port, from: domain)
        return true
    }
}
