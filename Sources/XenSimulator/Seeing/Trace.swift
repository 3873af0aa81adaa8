// SPDX-License-Identifier: MIT

/// What happened in a run, step by step.
public struct Trace: Hashable, Sendable {
    /// One thing that one actor did.
    public struct Entry: Hashable, Sendable {
        /// The step, counted from 1; several entries may belong to one.
        public let step: Int
        /// Virtual time.
        public let time: Duration
        /// The column of the one who did it.
        public let actor: Int
        /// The column of whom it concerns, if there is one.
        public let target: Int?
        /// What was done.
        public let text: String
    }

    /// The names of the columns.
    public internal(set) var names: [String] = []
    /// What happened, in order.
    public private(set) var entries: [Entry] = []
    var step = 0
    var actor = 0

    mutating func add(_ text: String, to target: Int?, at time: Duration) {
        entries.append(Entry(step: step, time: time, actor: actor, target: target, text: text))
    }

    /// One line for each entry, without newlines: step, virtual time in milliseconds, and the text in the column of its actor.
    ///
    /// `width` is that of a column in characters; longer texts run into the next columns, which are empty in that line.
    public func lines(width: Int = 12) -> [String] {
        [header(width)] + entries.map { line($0, width) }
    }

    private func header(_ width: Int) -> String {
        let columns = names.map { Trace.padded($0, width) }.joined()
        return Trace.trimmed(Trace.padded("step", 7) + Trace.padded("ms", 8) + columns)
    }

    private func line(_ entry: Entry, _ width: Int) -> String {
        let indent = String(repeating: " ", count: entry.actor * width)
        let target = entry.target.map { " ▸\(names[$0])" } ?? ""
        let prefix = Trace.padded(String(entry.step), 7) + Trace.padded(Trace.milliseconds(entry.time), 8)
        return prefix + indent + entry.text + target
    }

    static func milliseconds(_ time: Duration) -> String {
        String(time.components.seconds * 1000 + time.components.attoseconds / 1_000_000_000_000_000)
    }

    static func padded(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(1, width - text.count))
    }

    private static func trimmed(_ text: String) -> String {
        var text = text
        while text.last == " " { text.removeLast() }
        return text
    }

    /// Where two traces part: the last `context` lines they share, then what each goes on with. Nil if they are equal.
    public static func difference(_ left: Trace, _ right: Trace, context: Int = 3, width: Int = 12) -> [String]? {
        let mine = left.lines(width: width)
        let other = right.lines(width: width)
        guard mine != other else { return nil }
        var same = 0
        while same < mine.count, same < other.count, mine[same] == other[same] { same += 1 }
        let shared = mine[max(0, same - context)..<same].map { "  " + $0 }
        let leftLines = mine[same...].prefix(context).map { "- " + $0 }
        let rightLines = other[same...].prefix(context).map { "+ " + $0 }
        return shared + leftLines + rightLines
    }
}
