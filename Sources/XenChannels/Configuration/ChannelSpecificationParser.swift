// SPDX-License-Identifier: MIT

/// What reading a specification gave: the channel or an error, and what xl would have warned of on the way, in either case.
public struct ParsedChannel: Hashable, Sendable {
    /// The channel, or why there is none.
    public var result: Result<ChannelSpecification, ChannelSpecificationError>
    /// Warnings in the order of the text; xl prints them, the error last.
    public var warnings: [ChannelWarning]
}

/// What is odd about a channel, yet no error.
public enum ChannelWarning: Hashable, Sendable {
    /// A key that is not one of `backend`, `name`, `connection`, `kind`, `path`. Keys are in lower case.
    case unknownParameter(String)
}

/// Why a specification is refused; the text is xl's where xl has one (C2, R20).
public enum ChannelSpecificationError: Error, Hashable, Sendable {
    /// There is not one pair in it. xl ends with a segmentation fault here (R20).
    case empty
    /// A part that is no `key=value`.
    case malformedPair(String)
    /// A connection other than `pty` and `socket`.
    case unknownConnection(String)
    /// No connection at all.
    case missingConnection
    /// A socket without a path.
    case missingPath
    /// `connection` and its older spelling `kind` say different things (C3). xl 4.17 ignores `kind`, with a warning.
    case conflictingKind(connection: String, kind: String)
}

extension ChannelSpecification {
    /// Reads a specification, and drops the warnings.
    public init(_ text: some StringProtocol) throws(ChannelSpecificationError) {
        self = try ChannelSpecification.parse(text).result.get()
    }

    /// Reads a specification as xl does: pairs are separated by commas and trimmed, empty ones passed over; of several pairs with one key the
    /// last counts; a second `=` ends the value (R20). `kind` may stand for `connection` (C3).
    ///
    /// One thing differs from xl 4.17, which goes on with an empty text: a value of nothing but blanks counts as not given.
    public static func parse(_ text: some StringProtocol) -> ParsedChannel {
        var parser = ChannelSpecificationParser()
        let result = Result { () throws(ChannelSpecificationError) in
            for pair in Substring(text).utf8.split(separator: UInt8(ascii: ",")) {
                try parser.take(pair: String(Substring(pair)))
            }
            return try parser.finish()
        }
        return ParsedChannel(result: result, warnings: parser.warnings)
    }
}

private struct ChannelSpecificationParser {
    enum Kind: String {
        case pty
        case socket
    }

    var warnings: [ChannelWarning] = []
    private var isEmpty = true
    private var name: String?
    private var backend: String?
    private var path: String?
    private var connection: Kind?
    private var kind: Kind?

    mutating func take(pair: String) throws(ChannelSpecificationError) {
        isEmpty = false
        // As strtok: delimiters in a row count once, what follows a third word is dropped.
        let words = Substring(pair).utf8.split(separator: UInt8(ascii: "="))
        guard words.count >= 2 else { throw .malformedPair(pair) }
        let key = ChannelSpecificationParser.trimmed(words[0])
        let value = ChannelSpecificationParser.trimmed(words[1])
        switch key {
        case "backend": backend = value
        case "name": name = value
        case "path": path = value
        case "connection": connection = try parseKind(value)
        case "kind": kind = try parseKind(value)
        case let unknown: warnings.append(.unknownParameter(unknown))
        }
    }

    private func parseKind(_ value: String) throws(ChannelSpecificationError) -> Kind {
        guard let kind = Kind(rawValue: value) else { throw .unknownConnection(value) }
        return kind
    }

    func finish() throws(ChannelSpecificationError) -> ChannelSpecification {
        guard !isEmpty else { throw .empty }
        if let connection, let kind, connection != kind {
            throw .conflictingKind(connection: connection.rawValue, kind: kind.rawValue)
        }
        guard let chosen = connection ?? kind else { throw .missingConnection }
        return ChannelSpecification(
            name: name.flatMap { $0.isEmpty ? nil : $0 },
            connection: try connection(chosen),
            backend: backend.flatMap { $0.isEmpty ? nil : $0 }
        )
    }

    private func connection(_ kind: Kind) throws(ChannelSpecificationError) -> ChannelConnection {
        switch kind {
        case .pty: return .pty
        case .socket:
            guard let path, !path.isEmpty else { throw .missingPath }
            return .socket(path: path)
        }
    }

    private static func trimmed(_ text: Substring.UTF8View) -> String {
        var rest = text[...]
        while let first = rest.first, ChannelSpecification.isBlank(first) { rest.removeFirst() }
        while let last = rest.last, ChannelSpecification.isBlank(last) { rest.removeLast() }
        return String(Substring(rest))
    }
}

extension ChannelWarning: CustomStringConvertible {
    /// xl's text.
    public var description: String {
        switch self {
        case .unknownParameter(let key): "unknown channel parameter '\(key)', ignoring"
        }
    }
}

extension ChannelSpecificationError: CustomStringConvertible {
    /// xl's text, where xl has one.
    public var description: String {
        switch self {
        case .empty: "channel specification is empty"
        case .malformedPair(let pair): "failed to parse channel configuration: \(pair)"
        case .unknownConnection(let value): "unknown channel connection '\(value)'"
        case .missingConnection: "channel has unknown 'connection'"
        case .missingPath: "channel connection 'socket' requires path=.."
        case .conflictingKind(let connection, let kind):
            "channel has both 'connection=\(connection)' and 'kind=\(kind)'"
        }
    }
}
