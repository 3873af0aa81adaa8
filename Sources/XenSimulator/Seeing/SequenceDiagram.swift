// SPDX-License-Identifier: MIT

/// A trace as a sequence diagram: a line of life for each actor, an arrow where one concerns another.
public struct SequenceDiagram: Sendable {
    private let trace: Trace
    /// The columns that have anything in them, in order.
    private let columns: [Int]

    /// Draws a trace; actors that did nothing are left out.
    public init(_ trace: Trace) {
        self.trace = trace
        var used = Set<Int>()
        for entry in trace.entries {
            used.insert(entry.actor)
            if let target = entry.target { used.insert(target) }
        }
        columns = used.sorted()
    }

    // MARK: Text

    /// The diagram for a terminal, without newlines at the ends of lines.
    public func lines(width: Int = 14) -> [String] {
        let header = columns.map { Trace.padded(trace.names[$0], width) }.joined()
        return [header] + trace.entries.map { line($0, width) }
    }

    private func line(_ entry: Trace.Entry, _ width: Int) -> String {
        guard let from = columns.firstIndex(of: entry.actor) else { return "" }
        var cells = [Character](repeating: " ", count: columns.count * width)
        for column in columns.indices { cells[column * width] = "│" }
        if let target = entry.target, let to = columns.firstIndex(of: target), to != from {
            let left = min(from, to) * width
            let right = max(from, to) * width
            for position in (left + 1)..<right { cells[position] = "─" }
            cells[from * width] = to > from ? "├" : "┤"
            cells[to * width] = to > from ? "▶" : "◀"
        } else {
            cells[from * width] = "●"
        }
        return String(cells) + entry.text
    }

    // MARK: SVG

    /// The diagram as an SVG document.
    public func svg() -> String {
        let width = 130
        let height = 18
        let textLeft = columns.count * width + 20
        let total = (trace.entries.count + 3) * height
        var text = """
            <svg xmlns="http://www.w3.org/2000/svg" width="\(textLeft + 700)" height="\(total)" \
            font-family="monospace" font-size="12">
            <rect width="100%" height="100%" fill="white"/>

            """
        for (position, column) in columns.enumerated() {
            let x = position * width + 50
            text +=
                "<text x=\"\(x)\" y=\"16\" text-anchor=\"middle\">\(SequenceDiagram.escaped(trace.names[column]))</text>\n"
            text += "<line x1=\"\(x)\" y1=\"24\" x2=\"\(x)\" y2=\"\(total)\" stroke=\"#bbb\"/>\n"
        }
        for (row, entry) in trace.entries.enumerated() {
            text += element(entry, y: (row + 2) * height, width: width, textLeft: textLeft)
        }
        return text + "</svg>\n"
    }

    private func element(_ entry: Trace.Entry, y: Int, width: Int, textLeft: Int) -> String {
        guard let from = columns.firstIndex(of: entry.actor) else { return "" }
        let x = from * width + 50
        var text = "<circle cx=\"\(x)\" cy=\"\(y)\" r=\"3\"/>"
        if let target = entry.target, let to = columns.firstIndex(of: target), to != from {
            let end = to * width + 50
            let tip = end > x ? end - 7 : end + 7
            text += "<line x1=\"\(x)\" y1=\"\(y)\" x2=\"\(end)\" y2=\"\(y)\" stroke=\"black\"/>"
            text += "<path d=\"M\(end) \(y) L\(tip) \(y - 4) L\(tip) \(y + 4) Z\"/>"
        }
        let label = "\(entry.step) \(entry.text)"
        return text + "<text x=\"\(textLeft)\" y=\"\(y + 4)\">\(SequenceDiagram.escaped(label))</text>\n"
    }

    private static func escaped(_ text: String) -> String {
        var result = ""
        for character in text {
            switch character {
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "&": result += "&amp;"
            case "\"": result += "&quot;"
            default: result.append(character)
            }
        }
        return result
    }
}
