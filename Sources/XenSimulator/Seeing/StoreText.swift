// SPDX-License-Identifier: MIT

import XenInterface

/// Store requests in the short words of a trace.
enum StoreText {
    static func of(_ request: StoreRequest, _ reply: StoreReply) -> String {
        text(request) + result(reply)
    }

    private static func text(_ request: StoreRequest) -> String {
        switch request {
        case .directory(let path): "ls \(path)"
        case .directoryPart(let path, let offset): "ls \(path) from \(offset)"
        case .read(let path): "read \(path)"
        case .write(let path, let value): "write \(path) = \(value)"
        case .makeDirectory(let path): "mkdir \(path)"
        case .remove(let path): "rm \(path)"
        case .getPermissions(let path): "perms \(path)"
        case .setPermissions(let path, let list): "chmod \(path) \(list)"
        case .watch(let path, _, _): "watch \(path)"
        case .unwatch(let path, _): "unwatch \(path)"
        case .resetWatches: "reset watches"
        case .beginTransaction: "begin"
        case .endTransaction(let commit): commit ? "commit" : "abort"
        case .introduce(let domain, _, _): "introduce \(domain)"
        case .release(let domain): "release \(domain)"
        case .resume(let domain): "resume \(domain)"
        case .setTarget(let domain, let target): "target \(domain) \(target)"
        case .isIntroduced(let domain): "is introduced \(domain)"
        case .domainPath(let domain): "path of \(domain)"
        }
    }

    private static func result(_ reply: StoreReply) -> String {
        switch reply {
        case .done, .transaction, .permissions, .part: ""
        case .value(let value): " → \(value)"
        case .children(let names): " → \(names.joined(separator: " "))"
        case .flag(let flag): " → \(flag)"
        case .path(let path): " → \(path)"
        case .failure(let code): " → \(code)"
        }
    }
}
