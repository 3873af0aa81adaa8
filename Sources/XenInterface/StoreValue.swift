// SPDX-License-Identifier: MIT

/// What a xenstore node holds: bytes, usually text, never with a terminator of their own (D4).
///
/// The other side writes many of the nodes: `decimal(_:)` takes nothing but digits. Up to 14 bytes, as most nodes have, lie in the value
/// itself; more have memory of their own.
@frozen
public struct StoreValue: Hashable, Sendable, ExpressibleByStringLiteral {
    @usableFromInline
    enum Storage: Hashable, Sendable {
        /// The bytes in the order of their places, the first in the lowest bits; zeros behind the last.
        case short(UInt64, UInt32, UInt16, count: UInt8)
        case long([UInt8])
    }

    @usableFromInline
    let storage: Storage

    /// Takes bytes as they are.
    public init(_ bytes: [UInt8]) {
        if bytes.count > StoreValue.inlineCapacity { self.init(.long(bytes)) } else { self.init(bytes.span) }
    }

    /// Holds nothing.
    public init() {
        storage = .short(0, 0, 0, count: 0)
    }

    /// Takes the bytes as they are.
    package init(_ bytes: Span<UInt8>) {
        let count = bytes.count
        guard count <= StoreValue.inlineCapacity else {
            storage = unsafe .long(
                [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
                    for index in 0..<count { unsafe buffer[index] = bytes[index] }
                    initialized = count
                }
            )
            return
        }
        var (first, second): (UInt64, UInt64) = (0, 0)
        var index = count
        while index > 8 {
            index &-= 1
            second = second << 8 | UInt64(bytes[index])
        }
        while index > 0 {
            index &-= 1
            first = first << 8 | UInt64(bytes[index])
        }
        storage = .short(
            first,
            UInt32(truncatingIfNeeded: second),
            UInt16(truncatingIfNeeded: second >> 32),
            count: UInt8(truncatingIfNeeded: count)
        )
    }

    private init(_ storage: Storage) {
        self.storage = storage
    }

    /// Holds one byte.
    init(byte: UInt8) {
        storage = .short(UInt64(byte), 0, 0, count: 1)
    }

    /// How many bytes lie in the value itself at most.
    private static var inlineCapacity: Int { 14 }

    /// Takes text as UTF-8.
    public init(_ text: some StringProtocol) {
        self = String(text).withBytes { StoreValue($0) }
    }

    /// Takes a number as decimal digits.
    public init(decimal number: some BinaryInteger) {
        self.init(String(number))
    }

    /// Takes text as UTF-8.
    public init(stringLiteral text: String) {
        self = text.withBytes { StoreValue($0) }
    }

    /// How many bytes there are.
    public var count: Int {
        switch storage {
        case .short(_, _, _, let count): Int(count)
        case .long(let bytes): bytes.count
        }
    }

    /// Whether there are no bytes.
    public var isEmpty: Bool { count == 0 }

    /// The bytes as they stand in the node.
    public var bytes: [UInt8] {
        if case .long(let bytes) = storage { return bytes }
        return withBytes { bytes in unsafe bytes.withUnsafeBufferPointer { unsafe [UInt8]($0) } }
    }

    /// Shows the bytes where they lie.
    package func withBytes<Result>(_ body: (Span<UInt8>) -> Result) -> Result {
        switch storage {
        case .short(let first, let second, let third, let count):
            let words = (first.littleEndian, (UInt64(second) | UInt64(third) << 32).littleEndian)
            return unsafe withUnsafeBytes(of: words) { words in
                unsafe words.withMemoryRebound(to: UInt8.self) { unsafe body($0.extracting(..<Int(count)).span) }
            }
        case .long(let bytes):
            return body(bytes.span)
        }
    }

    /// The bytes as text; what is not UTF-8 shows as replacement characters.
    public var text: String {
        withBytes { bytes in unsafe bytes.withUnsafeBufferPointer { unsafe String(decoding: $0, as: UTF8.self) } }
    }

    /// The number the node holds, of 64 bits at most: decimal digits only, no sign, no blanks, no overflow; otherwise nil.
    @inlinable
    public func decimal<Number: FixedWidthInteger>(_: Number.Type = Number.self) -> Number? {
        // The digits are read by code that knows its types, whoever asks.
        digits.flatMap { Number(exactly: $0) }
    }

    @usableFromInline
    var digits: UInt64? { withBytes { UInt64(digits: $0) } }
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
    /// The text in quotation marks on one line, as diagnostics show a node's value.
    ///
    /// A peer may have written it, for whoever reads the diagnostics: all that is no plain character is shown by its number, `\x0a`, and of
    /// more than 128 bytes only the first.
    public var description: String {
        var shown: [UInt8] = [UInt8(ascii: "\"")]
        withBytes { bytes in
            for index in 0..<min(bytes.count, StoreValue.shownCount) { StoreValue.show(bytes[index], in: &shown) }
        }
        shown.append(UInt8(ascii: "\""))
        let text = String(decoding: shown, as: UTF8.self)
        return count > StoreValue.shownCount ? "\(text)... (\(count) bytes)" : text
    }

    private static var shownCount: Int { 128 }

    private static func show(_ byte: UInt8, in shown: inout [UInt8]) {
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"): shown += [UInt8(ascii: "\\"), byte]
        case 0x20...0x7E: shown.append(byte)
        default: shown += [UInt8(ascii: "\\"), UInt8(ascii: "x"), digit(byte >> 4), digit(byte & 15)]
        }
    }

    private static func digit(_ value: UInt8) -> UInt8 {
        value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") + value - 10
    }
}
