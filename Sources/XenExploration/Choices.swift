// SPDX-License-Identifier: MIT

/// One decision that was taken: which of how many.
@frozen
public struct Choice: Hashable, Sendable {
    /// What was chosen, counted from 0.
    public let value: UInt32
    /// The highest value that could have been chosen.
    public let limit: UInt32

    /// Notes a decision.
    @inlinable
    public init(value: UInt32, limit: UInt32) {
        self.value = value
        self.limit = limit
    }
}

/// The one source of nondeterminism: whatever could go one way or another asks here which way it goes.
///
/// The same program can be run with choices that come from a seed, that are replayed from a record, or that walk
/// through every possibility. What was chosen is recorded (`taken`), so that a failure can be repeated, made small
/// (`Shrinker`), and told to somebody else in one line (`Recipe`).
///
/// ```swift
/// var choices = Choices.exhaustive()
/// repeat { run(&choices) } while choices.backtrack()
/// ```
///
/// By convention 0 is the plainest choice of each decision (the empty list, no fault, no switch of actors), since
/// shrinking moves towards 0 and an exhausted record continues with 0. A decision with one possibility is not recorded.
@frozen
public struct Choices: Hashable, Sendable {
    /// Where choices come from when there is no record of them, or no more.
    @frozen
    @usableFromInline
    enum Source: Hashable, Sendable {
        /// The lowest value, always.
        case lowest
        /// Values drawn by the generator, recorded.
        case generator
        /// Values drawn by the generator, not recorded.
        case unrecordedGenerator
    }

    /// Choices before `position` were taken in this run; those behind it are still to be replayed.
    @usableFromInline
    var path: [Choice]
    @usableFromInline
    var position = 0
    @usableFromInline
    var source: Source
    @usableFromInline
    var generator: SplitMix64
    @usableFromInline
    var collectedNotes: [String]?
    @usableFromInline
    var firstMisfit: Misfit?

    @inlinable
    init(path: [Choice], source: Source, seed: UInt64) {
        self.path = path
        self.source = source
        generator = SplitMix64(seed: seed)
    }

    /// Choices drawn from a seed: the same seed gives the same answers, on every machine.
    ///
    /// Without `recording` nothing is kept, for runs too long to remember; run such a seed again with
    /// recording to shrink it.
    @inlinable
    public init(seed: UInt64, recording: Bool = true) {
        self.init(path: [], source: recording ? .generator : .unrecordedGenerator, seed: seed)
    }

    /// Choices that repeat a record, then go on with 0.
    ///
    /// A recorded value that is too high for its question is lowered to the highest possible, and `misfit` says so.
    @inlinable
    public init(replaying values: some Sequence<UInt32>) {
        self.init(path: values.map { Choice(value: $0, limit: .max) }, source: .lowest, seed: 0)
    }

    /// The first of all possible runs, the one that chooses 0 everywhere; `backtrack()` moves on to the next.
    @inlinable
    public static func exhaustive() -> Choices {
        Choices(path: [], source: .lowest, seed: 0)
    }

    /// What was chosen so far in this run, in order.
    @inlinable
    public var taken: ArraySlice<Choice> { path[..<position] }

    /// The values of what was chosen so far: what `init(replaying:)` takes.
    @inlinable
    public var values: [UInt32] { path[..<position].map { $0.value } }

    /// How many recorded choices have not been asked for yet.
    @inlinable
    public var remaining: Int { path.count - position }

    /// A number for the kinds of questions asked so far, whatever the answers were.
    ///
    /// A recipe carries it, to notice that the program it was made for is not the one it is replayed in.
    public var fingerprint: UInt64 {
        var hash = FixedHash()
        for choice in taken { hash.combine(choice.limit) }
        return hash.value
    }

    /// The first place where a replayed record did not fit the questions asked; nil while all is well.
    @inlinable
    public var misfit: Misfit? { firstMisfit }

    /// Begins the same run again: with the choices taken, those still recorded, and the source as it stands.
    @inlinable
    public mutating func rewind() {
        position = 0
        firstMisfit = nil
    }

    /// Goes back to the last decision that has another possibility, takes the next one, and begins a new run.
    ///
    /// False when there is none: then every run has been seen. The program must ask the same questions after the same
    /// answers; traps if it did not.
    @inlinable
    public mutating func backtrack() -> Bool {
        precondition(misfit == nil, "the explored program asked other questions after the same answers")
        path.removeSubrange(position...)
        position = 0
        while let last = path.popLast() {
            if last.value < last.limit {
                path.append(Choice(value: last.value &+ 1, limit: last.limit))
                return true
            }
        }
        return false
    }
}

extension Choices {
    /// A record asked a question it has no answer for.
    @frozen
    public struct Misfit: Hashable, Sendable {
        /// Which choice of the run it was, counted from 0.
        public let position: Int
        /// What the record says.
        public let recorded: Choice
        /// The highest possible answer to the question that was asked.
        public let limit: UInt32

        @inlinable
        init(position: Int, recorded: Choice, limit: UInt32) {
            self.position = position
            self.recorded = recorded
            self.limit = limit
        }
    }

    /// Takes one decision between 0 and `limit`; `draw` answers if the source is the generator.
    @inlinable
    @inline(__always)
    mutating func decide(limit: UInt32, draw: (inout SplitMix64) -> UInt32) -> UInt32 {
        if limit == 0 { return 0 }
        if position < path.count { return replayed(limit: limit) }
        let value: UInt32
        switch source {
        case .lowest:
            value = 0
        case .generator:
            value = draw(&generator)
        case .unrecordedGenerator:
            return draw(&generator)
        }
        path.append(Choice(value: value, limit: limit))
        position &+= 1
        return value
    }

    @inlinable
    mutating func replayed(limit: UInt32) -> UInt32 {
        let recorded = path[position]
        if recorded.limit != limit {
            // A limit of `.max` is that of a record whose questions are not known.
            if firstMisfit == nil, recorded.limit != .max || recorded.value > limit {
                firstMisfit = Misfit(position: position, recorded: recorded, limit: limit)
            }
            path[position] = Choice(value: min(recorded.value, limit), limit: limit)
        }
        position &+= 1
        return min(recorded.value, limit)
    }

    // MARK: Notes

    /// Adds a line to the account of this run, if one is being kept; `text` is evaluated only then.
    @inlinable
    public mutating func note(_ text: @autoclosure () -> String) {
        if collectedNotes != nil { collectedNotes?.append(text()) }
    }

    /// Whether notes are being kept.
    @inlinable
    public var isExplaining: Bool { collectedNotes != nil }

    /// The notes of this run; empty unless `explain()` was called before it.
    @inlinable
    public var notes: [String] { collectedNotes ?? [] }

    /// Keeps notes from now on.
    @inlinable
    public mutating func explain() {
        collectedNotes = []
    }
}
