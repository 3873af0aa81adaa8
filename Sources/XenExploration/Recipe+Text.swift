// SPDX-License-Identifier: MIT

extension Recipe: CustomStringConvertible {
    /// The recipe as one line without spaces.
    public var description: String {
        var text = "xensim\(Recipe.version):\(label):"
        switch source {
        case .seed(let seed): text += "seed=" + String(seed, radix: 16)
        case .values(let values): text += Recipe.text(of: values)
        }
        if let fingerprint { text += "~" + String(fingerprint, radix: 16) }
        return text
    }

    private static func text(of values: [UInt32]) -> String {
        var parts: [String] = []
        var position = 0
        while position < values.count {
            let value = values[position]
            var end = position + 1
            while end < values.count, values[end] == value { end += 1 }
            let digits = String(value, radix: 16)
            parts.append(end - position > 1 ? digits + "x" + String(end - position, radix: 16) : digits)
            position = end
        }
        return parts.isEmpty ? "-" : parts.joined(separator: ".")
    }

    /// Reads what `description` writes, up to 2^22 choices; spaces around it do not matter.
    public init(parsing text: String) throws(RecipeError) {
        let bytes = Recipe.trimmed(text)
        let fields = bytes.split(separator: UInt8(ascii: ":"), maxSplits: 2, omittingEmptySubsequences: false)
        let prefix = Array("xensim".utf8)
        guard let head = fields.first, head.starts(with: prefix), head.count > prefix.count else { throw .notARecipe }
        let version = String(decoding: head.dropFirst(prefix.count), as: UTF8.self)
        guard version.utf8.elementsEqual("\(Recipe.version)".utf8) else { throw .otherVersion(version) }
        guard fields.count == 3 else { throw .malformed("it has no label and choices") }
        let label = String(decoding: fields[1], as: UTF8.self)
        guard Recipe.isLabel(label) else { throw .malformed("its label is empty or has characters it may not have") }
        let halves = fields[2].split(separator: UInt8(ascii: "~"), omittingEmptySubsequences: false)
        guard halves.count <= 2 else { throw .malformed("it has two fingerprints") }
        var fingerprint: UInt32?
        if halves.count == 2 {
            fingerprint = UInt32(truncatingIfNeeded: try Recipe.number(halves[1], below: 1 << 32))
        }
        self.init(label: label, source: try Recipe.source(halves[0]), fingerprint: fingerprint)
    }

    private static func trimmed(_ text: String) -> ArraySlice<UInt8> {
        var bytes = ArraySlice(Array(text.utf8))
        while let first = bytes.first, first <= 0x20 { bytes.removeFirst() }
        while let last = bytes.last, last <= 0x20 { bytes.removeLast() }
        return bytes
    }

    private static func source(_ text: ArraySlice<UInt8>) throws(RecipeError) -> Source {
        let seed = Array("seed=".utf8)
        if text.starts(with: seed) {
            return .seed(try number(text.dropFirst(seed.count), below: nil))
        }
        if text.elementsEqual("-".utf8) { return .values([]) }
        var values: [UInt32] = []
        for part in text.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false) {
            let pieces = part.split(separator: UInt8(ascii: "x"), omittingEmptySubsequences: false)
            let value = UInt32(truncatingIfNeeded: try number(pieces[0], below: 1 << 32))
            guard pieces.count <= 2 else { throw .malformed("a choice is repeated twice over") }
            // A text from elsewhere must not exhaust memory; so long a run is better told by its seed.
            let times = pieces.count == 2 ? try number(pieces[1], below: 1 << 22) : 1
            guard values.count + Int(times) < 1 << 22 else { throw .malformed("it has too many choices") }
            values.append(contentsOf: repeatElement(value, count: Int(times)))
        }
        return .values(values)
    }

    private static func number(_ digits: ArraySlice<UInt8>, below bound: UInt64?) throws(RecipeError) -> UInt64 {
        var value: UInt64 = 0
        guard !digits.isEmpty, digits.count <= 16 else { throw .malformed("a number is missing or too long") }
        for digit in digits {
            switch digit {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): value = value << 4 | UInt64(digit - UInt8(ascii: "0"))
            case UInt8(ascii: "a")...UInt8(ascii: "f"): value = value << 4 | UInt64(digit - UInt8(ascii: "a") + 10)
            default: throw .malformed("a number has characters that are not hexadecimal digits")
            }
        }
        if let bound, value >= bound { throw .malformed("a number is too high") }
        return value
    }
}
