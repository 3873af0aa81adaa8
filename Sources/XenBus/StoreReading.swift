// SPDX-License-Identifier: MIT

package import XenInterface

extension StoreReply {
    /// The value that a read found; nil if the node was missing or could not be read.
    package var nodeValue: StoreValue? {
        if case .value(let value) = self { value } else { nil }
    }

    /// The names that a listing found; none if the node was missing or could not be read.
    package var childNames: [String] {
        if case .children(let names) = self { names } else { [] }
    }
}

extension StoreRequest {
    /// The node a request is about, for diagnostics; nil for requests about a connection or a domain.
    package var node: StorePath? {
        switch self {
        case .directory(let path), .directoryPart(let path, _), .read(let path), .write(let path, _),
            .makeDirectory(let path), .remove(let path), .getPermissions(let path), .setPermissions(let path, _),
            .watch(let path, _, _), .unwatch(let path, _):
            path
        case .resetWatches, .beginTransaction, .endTransaction, .introduce, .release, .resume, .setTarget,
            .isIntroduced, .domainPath:
            nil
        }
    }
}
