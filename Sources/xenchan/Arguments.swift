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
        if word.hasPrefix("--"), let equals = word.firstIndex(of: "=") {
            hasValueLeft = true
            return String(word[..<equals])
        }
        return word
    }

    /// The value of the option that `next()` returned last.
    mutating func value(of option: String, in topic: String) throws(UsageError) -> String {
        hasValueLeft = false
        let word = words[position - 1]
        if word.hasPrefix("--"), let equals = word.firstIndex(of: "=") {
            return String(word[word.index(after: equals)...])
        }
        guard position < words.count else { throw UsageError(topic, "\(option) needs a value") }
        position += 1
        return words[position - 1]
    }

    /// Refuses a word that a command does not know.
    func unknown(_ word: String, in topic: String) -> UsageError {
        UsageError(topic, word.hasPrefix("-") ? "unknown option '\(word)'" : "unexpected argument '\(word)'")
    }
}
