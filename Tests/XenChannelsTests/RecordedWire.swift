// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenInterface

/// What one connection asked of the real xenstored, and what it was told.
struct RecordedExchange {
    var request: StoreRequest
    var transaction: UInt32
    var reply: StoreReply
}

/// The exchanges of one connection of a recording, in order; requests that no toolstack script makes are left out.
func recordedExchanges(_ path: String, connection: Int) throws -> [RecordedExchange] {
    let frames = try Fixture(path).jsonLines(of: Frame.self).filter {
        $0.c == connection && $0.d != nil && $0.op != "WATCH_EVENT"
    }
    var exchanges: [RecordedExchange] = []
    for (request, reply) in zip(frames, frames.dropFirst()) where request.d == ">" {
        #expect(reply.d == "<")
        guard let parsed = try request.request() else { continue }
        exchanges.append(
            RecordedExchange(request: parsed, transaction: request.tx ?? 0, reply: try reply.reply(to: parsed))
        )
    }
    return exchanges
}

private struct Frame: Decodable {
    var c: Int
    var d: String?
    var op: String?
    var tx: UInt32?
    var hex: String?

    /// The payload behind the 16 bytes of the header.
    func payload() throws -> [UInt8] {
        let all = try #require(bytes(hex: hex ?? ""))
        return Array(all.dropFirst(16))
    }

    func request() throws -> StoreRequest? {
        let payload = try payload()
        let parts = payload.split(separator: 0, maxSplits: 1, omittingEmptySubsequences: false).map { Array($0) }
        let text = String(decoding: parts[0], as: UTF8.self)
        let path = StorePath(text)
        switch op {
        case "READ": return .read(try #require(path))
        case "DIRECTORY": return .directory(try #require(path))
        case "WRITE": return .write(try #require(path), StoreValue(parts[1]))
        case "MKDIR": return .makeDirectory(try #require(path))
        case "RM": return .remove(try #require(path))
        case "SET_PERMS":
            let words = String(decoding: parts[1], as: UTF8.self).split(separator: "\0")
            let entries = words.compactMap { StorePermissions.Entry(wire: $0) }
            let owner = try #require(entries.first)
            return .setPermissions(
                try #require(path),
                StorePermissions(owner: owner.domain, others: owner.access, Array(entries.dropFirst()))
            )
        case "INTRODUCE":
            let words = String(decoding: payload, as: UTF8.self).split(separator: "\0").map { UInt64($0) ?? 0 }
            return .introduce(
                DomainID(UInt16(words[0])),
                FrameNumber(words[1]),
                EventChannelPort(UInt32(words[2]))
            )
        default: return nil
        }
    }

    func reply(to request: StoreRequest) throws -> StoreReply {
        let payload = try payload()
        let text = String(decoding: payload, as: UTF8.self)
        if op == "ERROR" { return .failure(try #require(StoreErrorCode(rawValue: String(text.dropLast())))) }
        switch request {
        case .read: return .value(StoreValue(payload))
        case .directory: return .children(text.split(separator: "\0").map(String.init))
        default: return .done
        }
    }
}
