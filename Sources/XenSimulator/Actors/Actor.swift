// SPDX-License-Identifier: MIT

/// Somebody in the world who does one small thing at a time.
class Actor {
    /// Its number, which is its column in traces.
    let id: Int
    let world: World

    init(_ id: Int, in world: World) {
        self.id = id
        self.world = world
    }

    /// Does one thing: a ring operation, a hypercall, a store request, or taking an event. Returns whether there is more to do.
    func step() -> Bool { false }

    /// A timer of the actor's own ran out.
    func timerFired(_: TimerList.Purpose) {}

    /// The program at the end of a device's pipe has read or written.
    func pipeChanged() {}

    /// Another takes its place, or the world ends.
    func leave() {}

    /// Hashes what decides what it will do.
    func hash(into _: inout Hasher) {}
}
