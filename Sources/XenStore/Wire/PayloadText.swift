// SPDX-License-Identifier: MIT

/// Reading of payloads the way the C daemon reads them: strings that end in NUL, numbers through `atoi` and `strtol`.
enum PayloadText {
    /// The ranges of the strings that end in NUL; bytes after the last NUL belong to none.
    static func strings(in payload: [UInt8]) -> [Range<Int>] {
        var ranges: [Range<Int>] = []
        var start = 0
        for index in payload.indices where payload[index] == 0 {
            ranges.append(start..<index)
            start = index + 1
        }
        return ranges
    }

    /// The one string of a payload whose only NUL is its last byte; nil for any other payload.
    static func soleString(in payload: [UInt8]) -> Range<Int>? {
        guard let nul = payload.firstIndex(of: 0), nul == payload.count - 1 else { return nil }
        return 0..<nul
    }

    /// Whether the bytes are a path by the rules of D7; what `StorePath.isValid(_:)` says, in one pass over bytes.
    static func isPath(_ bytes: ArraySlice<UInt8>) -> Bool {
        guard let first = bytes.first else { return false }
        var previous: UInt8 = 0
        for byte in bytes {
            switch byte {
            case 0x61...0x7A, 0x2D, 0x30...0x39, 0x40...0x5A, 0x5F: break
            case StoreTree.slash: if previous == StoreTree.slash { return false }
            default: return false
            }
            previous = byte
        }
        return previous != StoreTree.slash || (first == StoreTree.slash && bytes.count == 1)
    }

    /// `(unsigned int)atoi(text)`: blanks, a sign, decimal digits; the rest is not looked at.
    static func decimalPrefix(_ text: ArraySlice<UInt8>) -> UInt32 {
        UInt32(truncatingIfNeeded: number(text, radix: 10).value)
    }

    /// `strtol` of the whole text with base 0 (octal, decimal, hexadecimal); nil if anything is left over or missing.
    static func integer(_ text: ArraySlice<UInt8>) -> Int64? {
        let parsed = number(text, radix: 0)
        guard !text.isEmpty, parsed.end == text.endIndex, parsed.hasDigits else { return nil }
        return parsed.value
    }

    /// Reads as `strtol` does; `end` is behind the last digit, or at the start if there is no digit.
    private static func number(_ text: ArraySlice<UInt8>, radix: Int64) -> (value: Int64, end: Int, hasDigits: Bool) {
        var index = text.startIndex
        while index < text.endIndex, isBlank(text[index]) { index += 1 }
        var isNegative = false
        if index < text.endIndex, text[index] == UInt8(ascii: "-") || text[index] == UInt8(ascii: "+") {
            isNegative = text[index] == UInt8(ascii: "-")
            index += 1
        }
        let (base, start) = prefix(text, at: index, radix: radix)
        index = start
        var value: Int64 = 0
        while index < text.endIndex, let digit = digit(text[index]), digit < base {
            let (product, tooLarge) = value.multipliedReportingOverflow(by: base)
            let (sum, tooLargeStill) = product.addingReportingOverflow(digit)
            value = tooLarge || tooLargeStill ? .max : sum
            index += 1
        }
        guard index > start else { return (0, text.startIndex, false) }
        // Like strtol, a number too large in size stays at the end of the range.
        return (isNegative ? (value == .max ? .min : -value) : value, index, true)
    }

    private static func prefix(_ text: ArraySlice<UInt8>, at index: Int, radix: Int64) -> (Int64, Int) {
        guard radix == 0 else { return (radix, index) }
        guard index < text.endIndex, text[index] == UInt8(ascii: "0") else { return (10, index) }
        if index + 2 < text.endIndex, text[index + 1] | 0x20 == UInt8(ascii: "x"),
            let first = digit(text[index + 2]), first < 16
        {
            return (16, index + 2)
        }
        return (8, index)
    }

    private static func isBlank(_ byte: UInt8) -> Bool {
        byte == 0x20 || (0x09...0x0D).contains(byte)
    }

    private static func digit(_ byte: UInt8) -> Int64? {
        switch byte {
        case 0x30...0x39: Int64(byte - 0x30)
        case 0x61...0x66: Int64(byte - 0x61 + 10)
        case 0x41...0x46: Int64(byte - 0x41 + 10)
        default: nil
        }
    }
}
