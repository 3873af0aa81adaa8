// SPDX-License-Identifier: MIT

import XenChannels
import XenInterface
import XenRing

/// Moves bytes between a ring and a pipe, one operation a step; the same for both sides of a channel.
struct Pump {
    /// What may have changed since it was looked at last.
    struct Look: OptionSet, Hashable {
        let rawValue: UInt8
        /// The peer may have produced, or there is room for it again.
        static let drain = Look(rawValue: 1)
        /// The backlog or the pipe's room may have grown.
        static let handOut = Look(rawValue: 2)
        /// The pipe's bytes or the ring's room may have grown.
        static let fill = Look(rawValue: 4)
        static let all: Look = [.drain, .handOut, .fill]
    }

    // The small ones lie in the relay's last word: each channel has two pumps.
    var relay: RingRelay
    let role: ConsoleRole
    var look: Look = []
    /// Bytes were moved, and the peer was not told yet.
    var mustNotify = false
    /// Bytes wait, and there was no room for them.
    private(set) var isRingFull = false
    var ring: RingBox?
    var pipe: Pipe?
    /// Tells of a reader that does not read.
    var overflow = OverflowNotice()

    init(_ role: ConsoleRole, limit: Int = ChannelAttachment.defaultLimit) {
        self.role = role
        relay = RingRelay(limit: limit)
    }

    /// Whether `step(_:)` has something to do.
    var isBusy: Bool { !look.isEmpty }

    /// Does one thing of those that are to be looked at.
    mutating func step(_ world: World) {
        if look.contains(.drain) {
            look.remove(.drain)
            drain(world)
        } else if look.contains(.handOut) {
            look.remove(.handOut)
            handOut(world)
        } else {
            look.remove(.fill)
            fill(world)
        }
    }

    mutating func drain(_ world: World) {
        guard let box = ring else { return }
        let before = relay.backlog.count
        let moved: Bool
        if let substitution = world.substitution {
            moved = unsafe substitution.drain(&box.ring, into: &relay)
        } else {
            moved = unsafe relay.drain(&box.ring)
        }
        if holdsTooMuch {
            world.journal.fail("the \(role) holds \(relay.backlog.count) bytes, and may hold \(relay.limit)")
        }
        world.note("took from the ring: \(before) waited, and \(relay.backlog.count) do")
        if moved { mustNotify = true }
        if moved || relay.backlog.count > before { look.insert(.handOut) }
    }

    /// Whether more waits than the policy allows.
    private var holdsTooMuch: Bool {
        guard relay.backlog.count > relay.limit else { return false }
        switch relay.policy {
        case .dropMiddle(let rule), .block(_, then: .dropMiddle(let rule)):
            return rule.cut(of: relay.backlog.count, limit: relay.limit) != nil
        case .disconnect, .block(_, then: .disconnect):
            return true
        }
    }

    private mutating func handOut(_ world: World) {
        guard let pipe else { return }
        let count = min(relay.backlog.count, pipe.outwardRoom)
        guard count > 0 else { return }
        // The ring may hold bytes for which there was no room.
        if relay.backlog.count == relay.limit { look.insert(.drain) }
        relay.backlog.withBytes { pipe.outward.append($0.extracting(first: count)) }
        relay.handedOut(count)
        world.note("hands out \(count)", to: pipe.program)
        world.wake(pipe.program)
    }

    private mutating func fill(_ world: World) {
        guard let pipe, let box = ring, !pipe.inward.isEmpty else {
            isRingFull = false
            return
        }
        let room: Int
        if let substitution = world.substitution {
            room = unsafe substitution.room(in: &box.ring, for: &relay)
        } else {
            room = unsafe relay.room(in: &box.ring)
        }
        let count = min(room, pipe.inward.count)
        isRingFull = count == 0
        guard count > 0 else { return world.note("finds the ring full") }
        let moved = pipe.inward.withBytes { bytes in
            if let substitution = world.substitution {
                unsafe substitution.send(bytes.extracting(first: count), to: &box.ring, by: &relay)
            } else {
                unsafe relay.send(bytes.extracting(first: count), to: &box.ring)
            }
        }
        pipe.inward.removeFirst(count)
        if moved { mustNotify = true }
        world.note("puts \(count) into the ring")
        if !pipe.inward.isEmpty { look.insert(.fill) }
        world.wake(pipe.program)
    }

    func hash(into hasher: inout Hasher) {
        hasher.combine(relay.backlog)
        hasher.combine(relay.deadline)
        hasher.combine(look)
        hasher.combine(mustNotify)
        hasher.combine(isRingFull)
        hasher.combine(pipe?.outward)
        hasher.combine(pipe?.inward)
        hasher.combine(pipe?.isHungUp)
    }
}
