// SPDX-License-Identifier: MIT

import XenExploration

/// Who goes next.
public enum Schedule: Hashable, Sendable {
    /// Chance decides who, and for how many steps; how restless it is, chance decides once for the run.
    case random
    /// Chance decides who, and where an actor is interrupted while it has something to do, at most so many times in a run: most bugs of
    /// order need no more than two or three.
    case bounded(preemptions: Int)
    /// Every possibility in turn, but that an actor is interrupted while it has something to do at most so many times in a run.
    case systematic(preemptions: Int)
}

struct Scheduler {
    private let schedule: Schedule
    private var current = -1
    /// How many more steps the current actor may make before there is a decision, or an interruption.
    private var rest = 0
    /// The longest stretch of one actor; 0 stands for "until it sleeps".
    private var longest = 0
    /// How often an actor was interrupted so far; with the random schedule nobody counts.
    private var preemptions = 0

    init(_ schedule: Schedule, _ choices: inout Choices) {
        self.schedule = schedule
        switch schedule {
        case .random: longest = choices.pick(from: [0, 30, 5, 1])
        case .bounded(let limit): rest = Scheduler.distance(limit, &choices)
        case .systematic: break
        }
    }

    /// How many steps it is to the next of so many interruptions: a small number as often as a large one, or for ever.
    private static func distance(_ left: Int, _ choices: inout Choices) -> Int {
        guard left > 0 else { return .max }
        let scale = choices.integer(in: 0...10)
        return scale == 0 ? .max : choices.choose(below: 1 << scale)
    }

    mutating func pick(from ready: borrowing ReadyList, _ choices: inout Choices) -> Int {
        switch schedule {
        case .random:
            if ready.count == 1 { return ready.members[0] }
            pickAtRandom(ready, &choices)
        case .bounded(let limit):
            pickWithFewInterruptions(ready, limit, &choices)
        case .systematic(let limit):
            pickSystematically(ready, limit, &choices)
        }
        return current
    }

    private mutating func pickAtRandom(_ ready: borrowing ReadyList, _ choices: inout Choices) {
        if rest > 0, ready.contains(current) {
            rest -= 1
            return
        }
        current = ready.members[choices.choose(below: ready.count)]
        rest =
            switch longest {
            case 0: .max
            case 1: 0
            default: choices.choose(below: longest)
            }
    }

    private mutating func pickWithFewInterruptions(
        _ ready: borrowing ReadyList,
        _ limit: Int,
        _ choices: inout Choices
    ) {
        guard ready.contains(current) else { return pickAnyone(ready, &choices) }
        guard ready.count > 1 else { return }
        guard rest == 0 else {
            rest -= 1
            return
        }
        interrupt(ready, &choices)
        rest = Scheduler.distance(limit - preemptions, &choices)
    }

    private mutating func pickSystematically(_ ready: borrowing ReadyList, _ limit: Int, _ choices: inout Choices) {
        guard ready.contains(current) else { return pickAnyone(ready, &choices) }
        if ready.count > 1, preemptions < limit, choices.bool() { interrupt(ready, &choices) }
    }

    private mutating func pickAnyone(_ ready: borrowing ReadyList, _ choices: inout Choices) {
        current = ready.members[choices.choose(below: ready.count)]
    }

    private mutating func interrupt(_ ready: borrowing ReadyList, _ choices: inout Choices) {
        preemptions += 1
        current = ready.member(choices.choose(below: ready.count - 1), without: current)
    }

    func hash(into hasher: inout Hasher) {
        hasher.combine(current)
        hasher.combine(preemptions)
    }
}
