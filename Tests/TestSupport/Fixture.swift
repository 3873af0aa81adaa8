// SPDX-License-Identifier: MIT

public import Foundation

/// A file of recorded data, by its path below `Fixtures/`.
public struct Fixture: Sendable {
    /// The top of the checkout.
    public static let root = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    /// Where the file is.
    public let url: URL

    /// Names a file below `Fixtures/`.
    public init(_ path: String) {
        url = Fixture.root.appending(path: "Fixtures").appending(path: path)
    }

    /// All bytes of the file.
    public func bytes() throws -> [UInt8] {
        [UInt8](try Data(contentsOf: url))
    }

    /// The lines of the file as text.
    public func lines() throws -> [String] {
        try String(contentsOf: url, encoding: .utf8).split(separator: "\n", omittingEmptySubsequences: false)
            .map(String.init)
    }

    /// Each line decoded as one JSON value; empty lines are passed over.
    public func jsonLines<Value: Decodable>(of type: Value.Type = Value.self) throws -> [Value] {
        let decoder = JSONDecoder()
        return try lines().filter { !$0.isEmpty }.map { try decoder.decode(type, from: Data($0.utf8)) }
    }
}

/// The bytes that pairs of hexadecimal digits stand for; nil for any other text.
public func bytes(hex text: String) -> [UInt8]? {
    let digits = text.utf8.map { UInt8(String(UnicodeScalar($0)), radix: 16) }
    guard digits.count.isMultiple(of: 2) else { return nil }
    var bytes: [UInt8] = []
    for pair in stride(from: 0, to: digits.count, by: 2) {
        guard let high = digits[pair], let low = digits[pair + 1] else { return nil }
        bytes.append(high << 4 | low)
    }
    return bytes
}
