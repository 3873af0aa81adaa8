// SPDX-License-Identifier: MIT

import XenExploration

/// What an exploration saw.
struct Exploration: CustomStringConvertible {
    var states = 0
    var transitions = 0
    /// Ends: nothing is left to do, not even a timer.
    var ends = 0
    var connectedEnds = 0
    /// Each pair of the nodes `state` that was seen.
    var pairs: Set<ChannelWorld.StatePair> = []
    /// Whether there was more than the budget allows.
    var isCut = false

    var description: String {
        "\(states) states, \(transitions) transitions, \(ends) ends (\(connectedEnds) connected)"
            + (isCut ? ", cut short" : "")
    }
}

/// Takes every step that is possible in every state that can be reached, each state once; and then looks for states from which no way leads
/// to an end.
///
/// Timers run out only when nothing else is left to do, unless `timersAnytime`. Throws what a check found, with the steps that lead there.
func explore(
    _ story: [StoryEvent],
    grain: ChannelWorld.Grain,
    timersAnytime: Bool = false,
    budget: Int,
    atEnd check: (ChannelWorld) throws(PropertyViolation) -> Void = { _ in }
) throws(PropertyViolation) -> Exploration {
    var result = Exploration()
    var start = try ChannelWorld(story: story, grain: grain)
    start.recordsWrites = false
    var graph = StateGraph()
    _ = graph.note(WorldKey(&start).fingerprint, from: nil, by: .story)
    // Depth first, so that few worlds are kept at a time.
    var open: [(world: ChannelWorld, number: UInt32)] = [(start, 0)]
    do throws(PropertyViolation) {
        while let (popped, number) = open.popLast() {
            graph.current = number
            var world = popped
            var steps = world.enabled
            if steps.isEmpty {
                try world.checkQuiescence()
                if world.timers.isEmpty {
                    try checkEnd(world, check, &result)
                    graph.ends.append(number)
                }
            }
            if steps.isEmpty || timersAnytime { steps += world.timers }
            for step in steps {
                var next = world
                do throws(PropertyViolation) {
                    try next.take(step)
                } catch {
                    throw PropertyViolation("\(error) after \(step)")
                }
                result.pairs.insert(next.states)
                if let found = graph.note(WorldKey(&next).fingerprint, from: number, by: step) {
                    open.append((next, found))
                }
            }
            if graph.count >= budget {
                result.isCut = true
                break
            }
        }
        result.states = graph.count
        result.transitions = graph.transitions
        if !result.isCut, let lost = graph.stateWithoutEnd() {
            graph.current = lost
            throw PropertyViolation("no way leads to an end")
        }
    } catch {
        let way = graph.way(to: graph.current)
        throw PropertyViolation(
            "\(error)\nafter \(way.map { "\($0)" }.joined(separator: " "))\n" + trace(story, way, grain)
        )
    }
    return result
}

/// The states seen, by their fingerprints, and the steps between them.
private struct StateGraph {
    private var numbers: [Int: UInt32] = [:]
    /// For each state the one that it was found from, and the step.
    private var origins: [(state: UInt32, step: WorldStep)] = []
    private var sources: [UInt32] = []
    private var targets: [UInt32] = []
    var ends: [UInt32] = []
    var current: UInt32 = 0

    var count: Int { origins.count }
    var transitions: Int { sources.count }

    /// Notes a step; returns the state's number if it is new.
    mutating func note(_ fingerprint: Int, from source: UInt32?, by step: WorldStep) -> UInt32? {
        let new = UInt32(origins.count)
        let number = numbers[fingerprint] ?? new
        if let source {
            sources.append(source)
            targets.append(number)
        }
        guard number == new else { return nil }
        numbers[fingerprint] = new
        origins.append((source ?? 0, step))
        return new
    }

    func way(to state: UInt32) -> [WorldStep] {
        var way: [WorldStep] = []
        var state = state
        while state != 0 {
            way.append(origins[Int(state)].step)
            state = origins[Int(state)].state
        }
        return way.reversed()
    }

    /// A state from which no way leads to an end: looked for backwards from the ends.
    func stateWithoutEnd() -> UInt32? {
        // The steps by their targets: those of state n are at starts[n]..<starts[n + 1] of `ordered`.
        var starts = [Int](repeating: 0, count: count + 1)
        for target in targets { starts[Int(target) + 1] += 1 }
        for state in 0..<count { starts[state + 1] += starts[state] }
        var ordered = [UInt32](repeating: 0, count: targets.count)
        var next = starts
        for (source, target) in zip(sources, targets) {
            ordered[next[Int(target)]] = source
            next[Int(target)] += 1
        }
        var leadsToEnd = [Bool](repeating: false, count: count)
        for end in ends { leadsToEnd[Int(end)] = true }
        var open = ends
        while let state = open.popLast() {
            for source in ordered[starts[Int(state)]..<starts[Int(state) + 1]] where !leadsToEnd[Int(source)] {
                leadsToEnd[Int(source)] = true
                open.append(source)
            }
        }
        return leadsToEnd.firstIndex(of: false).map { UInt32($0) }
    }
}

private func checkEnd(
    _ world: ChannelWorld,
    _ check: (ChannelWorld) throws(PropertyViolation) -> Void,
    _ result: inout Exploration
) throws(PropertyViolation) {
    result.ends += 1
    if world.guest.isConnected { result.connectedEnds += 1 }
    try check(world)
    var world = world
    world.takeDown()
    try world.checkTakenDown()
}

/// The states along a way, for a failure's report.
private func trace(_ story: [StoryEvent], _ way: [WorldStep], _ grain: ChannelWorld.Grain) -> String {
    do throws(PropertyViolation) {
        var world = try ChannelWorld(story: story, grain: grain)
        world.trace = []
        for step in way { try world.take(step) }
        return (world.trace ?? []).joined(separator: "\n")
    } catch {
        return "\(error)"
    }
}
