// SPDX-License-Identifier: MIT

public import XenInterface

extension StoreRequest {
    /// The operation of the wire.
    public var operation: StoreOperation {
        switch self {
        case .directory: .directory
        case .directoryPart: .directoryPart
        case .read: .read
        case .write: .write
        case .makeDirectory: .makeDirectory
        case .remove: .remove
        case .getPermissions: .getPermissions
        case .setPermissions: .setPermissions
        case .watch: .watch
        case .unwatch: .unwatch
        case .resetWatches: .resetWatches
        case .beginTransaction: .transactionStart
        case .endTransaction: .transactionEnd
        case .introduce: .introduce
        case .release: .release
        case .resume: .resume
        case .setTarget: .setTarget
        case .isIntroduced: .isDomainIntroduced
        case .domainPath: .getDomainPath
        }
    }

    /// The payload of the wire (D4).
    ///
    /// It may be longer than `StoreMessage.maximumPayload`, which a store answers by closing the connection, and a token with a
    /// NUL in it says something else on the wire: both are the caller's to avoid.
    public var payload: [UInt8] {
        switch self {
        case .directory(let path), .read(let path), .makeDirectory(let path), .remove(let path),
            .getPermissions(let path):
            strings(path.text)
        case .directoryPart(let path, let offset):
            strings(path.text, String(offset))
        case .write(let path, let value):
            strings(path.text) + value.bytes
        case .setPermissions(let path, let permissions):
            strings(path.text) + permissions.list.flatMap { strings($0.description) }
        case .watch(let path, let token, let depth):
            strings(path.text, token) + (depth.map { strings(String($0)) } ?? [])
        case .unwatch(let path, let token):
            strings(path.text, token)
        case .resetWatches, .beginTransaction:
            [0]
        case .endTransaction(let commit):
            strings(commit ? "T" : "F")
        case .introduce(let domain, let frame, let port):
            strings(domain.description, frame.description, port.description)
        case .setTarget(let domain, let target):
            strings(domain.description, target.description)
        case .release(let domain), .resume(let domain), .isIntroduced(let domain), .domainPath(let domain):
            strings(domain.description)
        }
    }

    /// The message of the wire.
    public func message(request: UInt32 = 0, in transaction: StoreTransactionID = .none) -> StoreMessage {
        StoreMessage(operation, request: request, transaction: transaction, payload: payload)
    }

    private func strings(_ texts: String...) -> [UInt8] {
        var bytes: [UInt8] = []
        for text in texts {
            bytes.append(contentsOf: text.utf8)
            bytes.append(0)
        }
        return bytes
    }
}
