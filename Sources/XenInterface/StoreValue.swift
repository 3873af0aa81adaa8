// SPDX-License-Identifier: MIT

/// What a xenstore node holds: bytes, usually text, never with a terminator of their own (D4).
///
/// The other side writes many of the nodes: `decimal(_:)` takes nothing but digits.
@frozen
public struct StoreValue: Hashable, Sendable, ExpressibleByStringLiteral {
    /// The bytes as they stand in the node.
    public var bytes: [UInt8]

    /// Takes bytes as they are.
    public init(_ bytes: [UInt8] = []) {
        self.bytes = bytes
    }

    /// Takes text as UTF-8.
    public init(_ text: some StringProtocol) {
        bytes = [UInt8](text.utf8)
    }

    /// Takes a number as decimal digits.
    public init(decimal number: some BinaryInteger) {
        self.init(String(number))
    }

    /// Takes text as UTF-8.
    public init(stringLiteral text: String) {
        self.init(text)
    }

    /// The bytes as text; what is not UTF-8 shows as replacement characters.
    public var text: String { String(decoding: bytes, as: UTF8.self) }

    /// The number the node holds: decimal digits only, no sign, no blanks, no overflow; otherwise nil.
    public func decimal<Number: FixedWidthInteger>(_: Number.Type = Number.self) -> Number? {
        Number(digits: bytes.span)
    }
}

extension FixedWidthInteger {
    /// Reads decimal digits: no sign, no blanks, no overflow; otherwise nil.
    @inlinable
    package init?(digits bytes: Span<UInt8>) {
        guard !bytes.isEmpty else { return nil }
        var number: Self = 0
        for index in bytes.indices {
            let byte = bytes[index]
            guard byte >= 0x30, byte <= 0x39 else { return nil }
            let (product, tooLarge) = number.multipliedReportingOverflow(by: 10)
            let (sum, tooLargeStill) = product.addingReportingOverflow(Self(byte - 0x30))
            guard !tooLarge, !tooLargeStill else { return nil }
            number = sum
        }
        self = number
    }
}

extension StoreValue: CustomStringConvertible {
    /// The text in quotation marks, as diagnostics show a node's value.
    public var description: String { "\"\(text)\"" }
}
