// SPDX-License-Identifier: MIT

import TestSupport
import XenInterface

/// A line of xenstored's own trace that says something.
struct TraceLine {
    enum Kind: Hashable {
        case request(String)
        /// An answer, `ERROR` or `WATCH_EVENT`.
        case reply(String)
        case created
        case destroyed
        case mark
    }

    /// Its number in the file, counted from 1.
    let number: Int
    let kind: Kind
    /// The daemon's name for the connection; it is given out again.
    let connection: String
    /// What stands in the parentheses, without the last NUL, which is shown as a blank.
    let text: String

    init?(_ line: String, number: Int) {
        self.number = number
        let words = line.split(separator: " ", maxSplits: 4, omittingEmptySubsequences: false)
        if let mark = line.firstRange(of: "=== MARK ") {
            // One of them stands in the middle of a line.
            kind = .mark
            connection = ""
            text = String(line[mark.upperBound...])
        } else if words.count == 3, words[1] == "connection" {
            kind = words[0] == "CREATE" ? .created : .destroyed
            connection = String(words[2])
            text = ""
        } else if words.count == 5, words[0] == "IN" || words[0] == "OUT", let open = words[4].firstIndex(of: "("),
            words[4].last == ")"
        {
            let operation = String(words[4][..<open].dropLast())
            kind = words[0] == "IN" ? .request(operation) : .reply(operation)
            connection = String(words[1])
            text = String(words[4][words[4].index(after: open)...].dropLast())
        } else {
            return nil
        }
    }

    static func all(in path: String) throws -> [TraceLine] {
        try Fixture(path).lines().enumerated().compactMap { TraceLine($0.element, number: $0.offset + 1) }
    }

    /// The path of a request or a watch event.
    var path: StorePath? { text.split(separator: " ").first.flatMap { StorePath($0) } }

    /// The request, as far as it is one that the replay has to do with.
    var request: StoreRequest? {
        guard case .request(let operation) = kind else { return nil }
        switch operation {
        case "TRANSACTION_START": return .beginTransaction
        case "TRANSACTION_END": return .endTransaction(commit: text.hasPrefix("T"))
        case "GET_DOMAIN_PATH":
            return text.split(separator: " ").first.flatMap { UInt16($0) }.map { .domainPath(DomainID($0)) }
        case "INTRODUCE":
            let words = text.split(separator: " ").compactMap { UInt64($0) }
            guard words.count == 3 else { return nil }
            return .introduce(
                DomainID(UInt16(words[0])),
                FrameNumber(words[1]),
                EventChannelPort(UInt32(words[2]))
            )
        default: return path.flatMap { request(operation, $0) }
        }
    }

    private func request(_ operation: String, _ path: StorePath) -> StoreRequest? {
        let rest = text.dropFirst(path.text.utf8.count + 1)
        switch operation {
        case "READ": return .read(path)
        case "DIRECTORY": return .directory(path)
        case "WRITE": return .write(path, StoreValue(rest))
        case "MKDIR": return .makeDirectory(path)
        case "RM": return .remove(path)
        case "WATCH": return .watch(path, token: String(rest.dropLast()))
        case "UNWATCH": return .unwatch(path, token: String(rest.dropLast()))
        case "SET_PERMS":
            let entries = rest.split(separator: " ").compactMap { StorePermissions.Entry(wire: $0) }
            guard let owner = entries.first else { return nil }
            let others = Array(entries.dropFirst())
            return .setPermissions(path, StorePermissions(owner: owner.domain, others: owner.access, others))
        default: return nil
        }
    }
}

extension StoreRequest {
    /// Without what each program chooses for itself: the tokens of its watches.
    var normalised: StoreRequest {
        switch self {
        case .watch(let path, _, _): .watch(path, token: "")
        case .unwatch(let path, _): .unwatch(path, token: "")
        case .directory, .directoryPart, .read, .write, .makeDirectory, .remove, .getPermissions, .setPermissions,
            .resetWatches, .beginTransaction, .endTransaction, .introduce, .release, .resume, .setTarget,
            .isIntroduced, .domainPath:
            self
        }
    }
}

extension StoreReply {
    /// The text that xenstored's trace shows for it; nil where that is a number of the daemon's own.
    var traced: String? {
        switch self {
        case .done: "OK "
        case .value(let value): value.text
        case .children(let names): names.map { $0 + " " }.joined()
        case .path(let path): path.text + " "
        case .failure(let code): code.rawValue + " "
        case .transaction, .part, .permissions, .flag: nil
        }
    }
}
