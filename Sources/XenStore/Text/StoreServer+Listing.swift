// SPDX-License-Identifier: MIT

public import XenInterface

/// How a tree is written as text: the options of `xenstore-ls`.
public struct StoreListingOptions: OptionSet, Hashable, Sendable {
    /// The bits.
    public let rawValue: Int

    /// Takes bits.
    public init(rawValue: Int) {
        self.rawValue = rawValue
    }

    /// `-f`: whole paths, and values however long.
    public static let fullPaths = StoreListingOptions(rawValue: 1)
    /// `-p`: permissions.
    public static let permissions = StoreListingOptions(rawValue: 2)
}

extension StoreServer {
    /// The tree below a path, byte for byte as `xenstore-ls` of dom0 prints it where no terminal tells it a width.
    ///
    /// Throws `.noEntry` if there is no node, `.invalid` if the path is relative or special.
    public func listing(
        of path: StorePath = .root,
        _ options: StoreListingOptions = []
    ) throws(StoreErrorCode) -> String {
        guard path.isAbsolute else { throw .invalid }
        guard let top = tree.find(path.text), tree.entries[Int(top)].exists else { throw .noEntry }
        let prefix = path == .root ? "" : path.text
        var text = ""
        var pending = tree.children(of: top).reversed().map { Line(place: $0, parent: prefix, depth: 0) }
        while let line = pending.popLast() {
            let path = line.parent + "/" + tree.name(of: line.place)
            append(line, path, options, to: &text)
            for child in tree.children(of: line.place).reversed() {
                pending.append(Line(place: child, parent: path, depth: line.depth + 1))
            }
        }
        return text
    }

    private struct Line {
        let place: Place
        let parent: String
        let depth: Int
    }

    /// The widths that `xenstore-ls` has without a terminal.
    private static let width = 80
    private static let permissionColumn = 60
    /// The length of ` = "..."`.
    private static let frame = 8

    private func append(_ line: Line, _ path: String, _ options: StoreListingOptions, to text: inout String) {
        let entry = tree.entries[Int(line.place)]
        let value = StoreText.escaped(entry.value.bytes)
        if options.contains(.fullPaths) {
            text += "\(path) = \"\(value)\""
            if options.contains(.permissions) { text += " " }
        } else {
            let name = StoreServer.cut(
                tree.name(of: line.place),
                to: StoreServer.width - StoreServer.frame - line.depth
            )
            let head = String(repeating: " ", count: line.depth) + name
            let room = StoreServer.width - StoreServer.frame - head.utf8.count
            if entry.value.count > room {
                text += "\(head) = \"\(StoreServer.cut(value, to: room))\\...\""
            } else {
                let shown = "\(head) = \"\(value)\""
                text += shown
                if options.contains(.permissions) { text += StoreServer.leader(from: shown.utf8.count) }
            }
        }
        if options.contains(.permissions) { text += "  (\(StoreText.permissions(permissions[entry.permissions])))" }
        text += "\n"
    }

    /// A precision that is negative counts as none for `printf`, and here.
    private static func cut(_ text: String, to count: Int) -> String {
        count < 0 ? text : String(decoding: text.utf8.prefix(count), as: UTF8.self)
    }

    /// A blank, and dots in every other column up to the permissions.
    private static func leader(from column: Int) -> String {
        var text = " "
        var column = column + 1
        while column < permissionColumn {
            text += column & 1 == 1 ? "." : " "
            column += 1
        }
        return text
    }
}

/// Values and permissions as the text of `xenstore-ls` has them.
enum StoreText {
    /// A value with all but plain characters escaped.
    static func escaped(_ value: [UInt8]) -> String {
        var text: [UInt8] = []
        for byte in value {
            switch byte {
            case UInt8(ascii: "\t"): text += "\\t".utf8
            case UInt8(ascii: "\n"): text += "\\n".utf8
            case UInt8(ascii: "\r"): text += "\\r".utf8
            case UInt8(ascii: "\\"): text += "\\\\".utf8
            case 0x20...0x7E: text.append(byte)
            case 0..<8: text += "\\00\(byte)".utf8
            default: text += ("\\x" + (byte < 16 ? "0" : "") + String(byte, radix: 16)).utf8
            }
        }
        return String(decoding: text, as: UTF8.self)
    }

    /// The bytes that an escaped text stands for; nil if an escape is cut short.
    static func unescaped(_ text: some Sequence<UInt8>) -> [UInt8]? {
        var value: [UInt8] = []
        var bytes = text.makeIterator()
        while let byte = bytes.next() {
            guard byte == UInt8(ascii: "\\") else {
                value.append(byte)
                continue
            }
            guard let escape = bytes.next(), let meant = unescaped(escape, &bytes) else { return nil }
            value.append(meant)
        }
        return value
    }

    private static func unescaped(_ escape: UInt8, _ bytes: inout some IteratorProtocol<UInt8>) -> UInt8? {
        switch escape {
        case UInt8(ascii: "t"): return 0x09
        case UInt8(ascii: "n"): return 0x0A
        case UInt8(ascii: "r"): return 0x0D
        case UInt8(ascii: "\\"): return escape
        case UInt8(ascii: "x"): return number([bytes.next(), bytes.next()], base: 16)
        default: return number([escape, bytes.next(), bytes.next()], base: 8)
        }
    }

    private static func number(_ digits: [UInt8?], base: Int) -> UInt8? {
        var number = 0
        for digit in digits {
            guard let digit, let value = Character(Unicode.Scalar(digit)).hexDigitValue, value < base else {
                return nil
            }
            number = number * base + value
        }
        return UInt8(exactly: number)
    }

    /// A permission list as `n0,r1`.
    static func permissions(_ list: [PermissionEntry]) -> String {
        list.map { "\(Character(Unicode.Scalar($0.access.rawValue)))\($0.domain)" }.joined(separator: ",")
    }
}
