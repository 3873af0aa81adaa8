// SPDX-License-Identifier: MIT

import XenRing

extension RingPicture: CustomStringConvertible {
    /// The picture, 80 columns wide, ending without a line break.
    public var description: String { text() }

    /// The picture; of the bytes that wait in a ring at most `limit` are shown.
    public func text(limit: Int = 256) -> String {
        var lines: [String] = []
        for ring in rings {
            lines += RingPicture.draw(ring, limit: limit)
            lines.append("")
        }
        let means = connection == 1 ? "disconnected" : "connected"
        lines.append("connection: \(connection) (\(means))")
        if problems.isEmpty {
            lines.append("nothing is wrong with this page")
        } else {
            lines += problems.map { "wrong: \($0)" }
        }
        return lines.joined(separator: "\n")
    }

    private static let width = 64

    private static func draw(_ ring: Ring, limit: Int) -> [String] {
        let capacity = Int(ring.layout.capacity)
        let used = ring.isSane ? "\(ring.used) of \(capacity) bytes wait" : "indices out of range"
        let state = ring.isSane ? (ring.used == 0 ? ", empty" : ring.used == ring.layout.capacity ? ", full" : "") : ""
        var lines = [
            "\(ring.name): \(ring.direction), \(used)\(state)",
            "  \(ring.name)_cons \(index(ring.consumer, ring.layout))   \(ring.name)_prod \(index(ring.producer, ring.layout))",
        ]
        lines += bar(ring)
        lines += dump(ring, limit: limit)
        return lines
    }

    private static func index(_ index: RingIndex, _ layout: RingLayout) -> String {
        let offset = layout.data + index.position(in: layout.capacity)
        return "\(index.rawValue) (at \(offset))"
    }

    /// The ring from its first byte to its last, `█` where bytes wait, with the two indices below it.
    private static func bar(_ ring: Ring) -> [String] {
        let capacity = Int(ring.layout.capacity)
        let first = ring.consumer.position(in: ring.layout.capacity)
        var cells = Array(repeating: Character("·"), count: width)
        if ring.isSane {
            for offset in 0..<Int(ring.used) { cells[(first + offset) % capacity * width / capacity] = "█" }
        }
        var marks = Array(repeating: Character(" "), count: width)
        let consumer = first * width / capacity
        let producer = ring.producer.position(in: ring.layout.capacity) * width / capacity
        marks[producer] = "P"
        marks[consumer] = consumer == producer ? "B" : "C"
        let legend = consumer == producer ? "B both indices" : "C consumer  P producer"
        let last = ring.layout.data + capacity
        return [
            "  ┌" + String(repeating: "─", count: width) + "┐ bytes \(ring.layout.data) to \(last - 1)",
            "  │" + String(cells) + "│",
            "  └" + String(repeating: "─", count: width) + "┘",
            trimmed("   " + String(marks) + "  " + legend),
        ]
    }

    /// The waiting bytes, sixteen to a line: how many went before, hexadecimal, and as text.
    private static func dump(_ ring: Ring, limit: Int) -> [String] {
        let shown = ring.queued.prefix(max(0, limit))
        var lines: [String] = []
        for start in stride(from: 0, to: shown.count, by: 16) {
            let row = shown[start..<min(start + 16, shown.count)]
            let hex = row.map { pad(String($0, radix: 16), to: 2, with: "0") }.joined(separator: " ")
            let text = String(row.map { $0 >= 0x20 && $0 < 0x7F ? Character(UnicodeScalar($0)) : "." })
            lines.append(
                "  " + pad("\(start)", to: 5, with: " ") + "  " + hex
                    + String(repeating: " ", count: 49 - hex.count) + "│\(text)│"
            )
        }
        if ring.queued.count > shown.count { lines.append("         and \(ring.queued.count - shown.count) more") }
        return lines
    }

    private static func pad(_ text: String, to count: Int, with filler: Character) -> String {
        String(repeating: filler, count: max(0, count - text.count)) + text
    }

    private static func trimmed(_ text: String) -> String {
        String(text.reversed().drop { $0 == " " }.reversed())
    }
}
