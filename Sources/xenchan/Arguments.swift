// SPDX-License-Identifier: MIT

/// The words of a command line are wrong: which command's help to read, and what is wrong.
struct UsageError: Error {
    let topic: String
    let text: String

    init(_ topic: String, _ text: String) {
        self.topic = topic
        self.text = text
    }
}

/// The words behind a command, taken one by one: options with values as `--name VALUE` or `--name=VALUE`.
struct Arguments {
    let words: [String]
    private var position = 0
    /// The last word had a value that nobody has asked for.
    private var hasValueLeft = false
    /// The options that came by, in their order.
    private(set) var options: [String] = []

    init(_ words: [String]) {
        self.words = words
    }

    /// The next option without its value, or the next word that is no option; nil at the end.
    ///
    /// An option whose value was not asked for takes none: it comes once more as it was written, which no command knows.
    mutating func next() -> String? {
        if hasValueLeft {
            hasValueLeft = false
            return words[position - 1]
        }
        guard position < words.count else { return nil }
        let word = words[position]
        position += 1
        var option = word
        if word.hasPrefix("--"), let equals = word.firstIndex(of: "=") {
            hasValueLeft = true
            option = String(word[..<equals])
        }
        if word.hasPrefix("--") { options.append(option) }
        return option
    }

    /// The value of the option that `next()` returned last, which is not empty. Only one that `repeats` may come again: of two values one
    /// would be lost without a word.
    mutating func value(of option: String, in topic: String, repeats: Bool = false) throws(UsageError) -> String {
        guard repeats || options.count(where: { $0 == option }) == 1 else {
            throw UsageError(topic, "\(option) is given more than once")
        }
        var value = words[position - 1]
        if hasValueLeft, let equals = value.firstIndex(of: "=") {
            value = String(value[value.index(after: equals)...])
        } else {
            guard position < words.count else { throw UsageError(topic, "\(option) needs a value") }
            position += 1
            value = words[position - 1]
        }
        hasValueLeft = false
        guard !value.isEmpty else { throw UsageError(topic, "\(option) needs a value, not an empty one") }
        return value
    }

    /// The value of an option that takes a number, in decimal or as `0x` with hexadecimal digits.
    mutating func number<Number: FixedWidthInteger>(
        of option: String,
        in topic: String,
        _ range: ClosedRange<Number>
    ) throws(UsageError) -> Number {
        let text = try value(of: option, in: topic)
        let number = text.hasPrefix("0x") ? Number(text.dropFirst(2), radix: 16) : Number(text)
        guard let number, range.contains(number) else {
            throw UsageError(
                topic,
                "\(option) takes a number from \(range.lowerBound) to \(range.upperBound), not '\(text)'"
            )
        }
        return number
    }

    /// Refuses options of more than one of these groups: a command does one thing at a time.
    func refuseTogether(_ groups: [[String]], in topic: String) throws(UsageError) {
        let found = groups.compactMap { group in options.first(where: group.contains) }
        if found.count > 1 { throw UsageError(topic, "\(found[0]) and \(found[1]) do not go together") }
    }

    /// Refuses a word that a command does not know.
    func unknown(_ word: String, in topic: String) -> UsageError {
        UsageError(topic, word.hasPrefix("-") ? "unknown option '\(word)'" : "unexpected argument '\(word)'")
    }
}
