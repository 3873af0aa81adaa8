// SPDX-License-Identifier: MIT

/// A run in one line of text: what to run and which choices to give it.
///
/// ```text
/// xensim1:hotplug:seed=5eed~1c0ffee5
/// xensim1:hotplug:0.3.1x12.ff~9c3e0a77
/// ```
///
/// `xensim` and the format's version, a label that names the program (a scenario, a property), and the choices:
/// a seed, or the choices themselves in hexadecimal, `1x12` being 0x12 times 1. Behind the tilde stands the
/// fingerprint of the questions that were asked, by which a replay notices that the program has changed.
public struct Recipe: Hashable, Sendable {
    /// The version of the format that this library writes and reads.
    public static let version = 1

    /// Where the choices come from.
    public enum Source: Hashable, Sendable {
        /// They are drawn from a seed.
        case seed(UInt64)
        /// They are these, and 0 behind their end.
        case values([UInt32])
    }

    /// Names what is run; the reader of the recipe knows what it means.
    public let label: String
    /// Where the choices come from.
    public let source: Source
    /// The kinds of questions the run asked, folded to 32 bits; nil if the recipe does not say.
    public let fingerprint: UInt32?

    /// Writes a recipe down without having run it.
    ///
    /// Traps unless `isLabel(label)`.
    public init(label: String, source: Source, fingerprint: UInt32? = nil) {
        precondition(Recipe.isLabel(label), "a label has no colon, space or control character, and is not empty")
        self.label = label
        self.source = source
        self.fingerprint = fingerprint
    }

    /// The recipe of a run that was made, by its choices.
    public init(label: String, of choices: Choices) {
        self.init(label: label, source: .values(choices.values), fingerprint: Recipe.fold(choices.fingerprint))
    }

    /// The recipe of a run that was made from a seed, with recording.
    public init(label: String, seed: UInt64, of choices: Choices) {
        self.init(label: label, source: .seed(seed), fingerprint: Recipe.fold(choices.fingerprint))
    }

    /// The choices that repeat the run.
    public func choices() -> Choices {
        switch source {
        case .seed(let seed): Choices(seed: seed)
        case .values(let values): Choices(replaying: values)
        }
    }

    /// Says why `choices`, made by `choices()` and used for a run, show that the recipe does not fit the program;
    /// nil if it fits.
    public func misfit(after choices: Choices) -> RecipeError? {
        if let misfit = choices.misfit {
            return .doesNotFit(
                "choice \(misfit.position) is \(misfit.recorded.value), "
                    + "but the program allows at most \(misfit.limit) there"
            )
        }
        if choices.remaining > 0 {
            return .doesNotFit("the program made \(choices.taken.count) choices and left \(choices.remaining) unused")
        }
        if case .values(let values) = source, choices.taken.count > values.count {
            return .doesNotFit("the program made \(choices.taken.count) choices, the recipe has \(values.count)")
        }
        if let fingerprint, fingerprint != Recipe.fold(choices.fingerprint) {
            return .doesNotFit("the program's choices are of other kinds than when the recipe was made")
        }
        return nil
    }

    /// Whether a text can be a label: not empty, and printable ASCII without space, colon and tilde.
    public static func isLabel(_ text: String) -> Bool {
        !text.utf8.isEmpty && text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7E && $0 != UInt8(ascii: ":") }
    }

    /// `text` with every run of bytes that cannot stand in a label made one hyphen.
    public static func label(from text: String) -> String {
        var label: [UInt8] = []
        for byte in text.utf8 {
            if byte > 0x20 && byte < 0x7E && byte != UInt8(ascii: ":") && byte != UInt8(ascii: "`") {
                label.append(byte)
            } else if let last = label.last, last != UInt8(ascii: "-") {
                label.append(UInt8(ascii: "-"))
            }
        }
        if label.last == UInt8(ascii: "-") { label.removeLast() }
        return label.isEmpty ? "unnamed" : String(decoding: label, as: UTF8.self)
    }

    static func fold(_ fingerprint: UInt64) -> UInt32 {
        UInt32(truncatingIfNeeded: fingerprint ^ (fingerprint >> 32))
    }
}

/// A recipe that cannot be followed.
public enum RecipeError: Error, Hashable, Sendable {
    /// The text does not begin as a recipe does.
    case notARecipe
    /// It was written in another version of the format.
    case otherVersion(String)
    /// A part of it cannot be read; says which.
    case malformed(String)
    /// It is readable, but the program asks other questions than it answers; says where.
    case doesNotFit(String)
}

extension RecipeError: CustomStringConvertible {
    /// Says what is wrong in one sentence.
    public var description: String {
        switch self {
        case .notARecipe:
            "not a recipe: it does not begin with xensim\(Recipe.version):"
        case .otherVersion(let found):
            "the recipe is of format \(found), and this program reads format \(Recipe.version)"
        case .malformed(let part):
            "the recipe cannot be read: \(part)"
        case .doesNotFit(let reason):
            "the recipe no longer fits the program: \(reason)"
        }
    }
}
