// SPDX-License-Identifier: MIT

import XenExploration

/// Who goes next.
public enum Schedule: Hashable, Sendable {
    /// Chance decides who, and for how many steps; how restless it is, chance decides once for the run.
    case random
    /// Chance decides who, and where so many interruptions fall (most bugs of order need no more than two or three).
    case bounded(preemptions: Int)
    /// Every possibility in turn, but that an actor is interrupted while it has something to do at most so many times in a run.
    case systematic(preemptions: Int)
}

struct Scheduler {
    private let schedule: Schedule
    private var current = -1
    /// How many more steps the current actor may make before there is a decision.
    private var rest = 0
    /// The longest stretch of one actor; 0 stands for "until it sleeps".
    private var longest = 0
    /// How often an actor was interrupted so far, with the systematic schedule; how often one still may be, with few interruptions.
    private var preemptions = 0

    init(_ schedule: Schedule, _ choices: inout Choices) {
        self.schedule = schedule
        switch schedule {
        case .random:
            longest = choices.pick(from: [0, 30, 5, 1])
        case .bounded(let count):
            preemptions = count
            rest = count > 0 ? Scheduler.distance(&choices) : .max
        case .systematic:
            break
        }
    }

    /// How many steps it is to the next of few interruptions: a small number as often as a large one.
    private static func distance(_ choices: inout Choices) -> Int {
        choices.choose(below: 1 << choices.integer(in: 1...10))
    }

    mutating func pick(from ready: borrowing ReadyList, _ choices: inout Choices) -> Int {
        if ready.count == 1 { return ready.members[0] }
        switch schedule {
        case .random, .bounded: pickAtRandom(ready, &choices)
        case .systematic(let limit): pickSystematically(ready, limit, &choices)
        }
        return current
    }

    private mutating func pickAtRandom(_ ready: borrowing ReadyList, _ choices: inout Choices) {
        if rest > 0, ready.contains(current) {
            rest -= 1
            return
        }
        let isInterruption = preemptions > 0 && rest == 0
        current = ready.members[choices.choose(below: ready.count)]
        if preemptions > 0 {
            // Those who fall asleep do not count.
            if !isInterruption { return }
            preemptions -= 1
            rest = preemptions > 0 ? Scheduler.distance(&choices) : .max
            return
        }
        rest =
            switch longest {
            case 0: .max
            case 1: 0
            default: choices.choose(below: longest)
            }
    }

    private mutating func pickSystematically(_ ready: borrowing ReadyList, _ limit: Int, _ choices: inout Choices) {
        if ready.contains(current) {
            guard preemptions < limit, choices.bool() else { return }
            preemptions += 1
            current = ready.member(choices.choose(below: ready.count - 1), without: current)
        } else {
            current = ready.members[choices.choose(below: ready.count)]
        }
    }

    func hash(into hasher: inout Hasher) {
        hasher.combine(current)
        hasher.combine(preemptions)
    }
}
