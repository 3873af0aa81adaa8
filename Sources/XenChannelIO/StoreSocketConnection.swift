// SPDX-License-Identifier: MIT

public import XenInterface
import XenStore

/// A client of a store that listens on a Unix socket: xenstored's, or ours. Every call waits for its answer.
public final class StoreSocketConnection: StoreConnection {
    private let descriptor: Descriptor
    private let path: String
    private var decoder = StoreMessageDecoder()
    private var events: [StoreWatchEvent] = []
    private var nextRequest: UInt32 = 1
    private var isBroken = false

    /// Connects to the store at `path`.
    public init(path: String) throws(SystemError) {
        self.path = path
        // Waiting is what this client does.
        descriptor = try UnixListener.connect(to: path, waits: true)
    }

    /// Sends one request and waits for its reply; `EIO` once the store has gone or has broken the protocol.
    public func perform(_ request: StoreRequest, in transaction: StoreTransactionID = .none) -> StoreReply {
        let number = nextRequest
        nextRequest &+= 1
        guard send(request.message(request: number, in: transaction).encoded) else {
            return .failure(.inputOutput)
        }
        while let message = receive() {
            if let event = StoreWatchEvent(message) {
                events.append(event)
            } else if message.request == number {
                return StoreReply(message, to: request.operation) ?? .failure(.inputOutput)
            }
        }
        return .failure(.inputOutput)
    }

    /// Takes the oldest watch event that arrived with earlier replies.
    public func nextWatchEvent() -> StoreWatchEvent? {
        events.isEmpty ? nil : events.removeFirst()
    }

    private func send(_ bytes: [UInt8]) -> Bool {
        var sent = 0
        while !isBroken, sent < bytes.count {
            switch descriptor.send(bytes.span.extracting(sent..<bytes.count)) {
            case .moved(let count): sent += count
            case .wait: continue
            case .end, .gone: isBroken = true
            }
        }
        return !isBroken
    }

    private func receive() -> StoreMessage? {
        while !isBroken {
            switch decoder.next() {
            case .message(let message): return message
            case .protocolError: isBroken = true
            case .needMore: readMore()
            }
        }
        return nil
    }

    private func readMore() {
        unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 8192) { buffer in
            var output = unsafe OutputSpan(buffer: buffer, initializedCount: 0)
            switch descriptor.read(appendingTo: &output) {
            case .moved: decoder.append(output.span)
            case .wait: break
            case .end, .gone: isBroken = true
            }
        }
    }
}
