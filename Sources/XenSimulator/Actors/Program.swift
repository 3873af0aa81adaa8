// SPDX-License-Identifier: MIT

import XenChannels
import XenExploration

/// What a program at the end of a channel does: a client on the host, or an agent in the guest.
public enum ProgramBehavior: Hashable, Sendable {
    /// Takes what comes, and says nothing.
    case listen
    /// Gives every byte back.
    case echo
    /// Sends so many bytes, and takes what comes.
    case send(Int)
    /// Asks so many questions, one after the other, each when the one before was answered.
    case ask(Int)
    /// Answers questions.
    case answer

    var length: Int {
        switch self {
        case .listen, .echo, .answer: 0
        case .send(let count): count
        case .ask(let count): count * ProgramBehavior.messageLength
        }
    }

    /// How long questions and answers are, in bytes.
    static let messageLength = 24
}

/// A program at the end of a channel. What it sends is a pattern that its reader knows, so that every byte is checked when it arrives.
final class Program: Actor {
    private(set) var behavior: ProgramBehavior
    /// Which pattern it sends, and which one it is sent.
    private let ownPattern: BytePattern
    private let peerPattern: BytePattern
    /// How many bytes it writes at once, at most.
    private let chunks: [Int]
    var pipe: Pipe?
    /// Bytes it has sent, and bytes it has been given.
    private(set) var sent: UInt64 = 0
    private(set) var received: UInt64 = 0
    /// How much of what it sends nobody asked for.
    private var unasked: UInt64 = 0
    private(set) var channel: ChannelRecord
    /// What an echo has still to give back.
    private var pending = ByteQueue()

    init(
        _ id: Int,
        of channel: ChannelRecord,
        in world: World,
        behavior: ProgramBehavior,
        ownPattern: UInt64,
        peerPattern: UInt64
    ) {
        self.channel = channel
        self.behavior = behavior
        chunks = channel.plan.chunks
        self.ownPattern = BytePattern(ownPattern)
        self.peerPattern = BytePattern(peerPattern)
        super.init(id, in: world)
    }

    /// Goes on at another life of its channel: it was saved and restored with its guest, or waits for it on the host.
    func move(to channel: ChannelRecord) {
        self.channel = channel
        world.wake(id)
    }

    /// Asks so many questions more.
    func ask(_ count: Int) {
        guard case .ask(let before) = behavior else { preconditionFailure("this program does not ask") }
        behavior = .ask(before + count)
        world.wake(id)
    }

    /// Whether it has bytes of its own to flood the channel with.
    var canFlood: Bool { behavior != .echo }

    /// Sends so many bytes that nobody asked for.
    func flood(_ count: Int) {
        unasked += UInt64(count)
        world.wake(id)
    }

    /// Whether everything was sent that is to be sent.
    var hasSentAll: Bool { sent >= UInt64(behavior.length) + unasked }

    /// How many bytes it can write now.
    private var writable: Int {
        guard let pipe else { return 0 }
        let total: UInt64
        switch behavior {
        case .listen: total = 0
        case .echo: return min(pending.count, pipe.inwardRoom)
        case .send(let count): total = UInt64(count)
        case .ask(let count): total = min(UInt64(count), received / 24 + 1) * 24
        case .answer: total = received / 24 * 24
        }
        let wanted = total + unasked
        return wanted > sent ? min(Int(wanted - sent), pipe.inwardRoom) : 0
    }

    override func step() -> Bool {
        guard let pipe, !pipe.isHungUp else {
            guard let device = channel.backend, channel.client === self, device.accept(self) else { return false }
            world.note("connects", to: self.pipe?.device)
            return writable > 0
        }
        let canRead = !pipe.outward.isEmpty
        let room = writable
        if canRead, room == 0 || !world.chance.choices.bool() {
            read(pipe)
        } else if room > 0 {
            write(pipe, upTo: room)
        }
        return !pipe.outward.isEmpty || writable > 0
    }

    private func read(_ pipe: Pipe) {
        let count = pipe.outward.count
        pipe.outward.withBytes { bytes in
            if channel.isExact { check(bytes) }
            if behavior == .echo { pending.append(bytes) }
        }
        received += UInt64(count)
        pipe.outward.removeFirst(count)
        world.note("reads \(count)", to: pipe.device)
        changed(pipe)
    }

    private func check(_ bytes: Span<UInt8>) {
        guard let (index, expected) = peerPattern.mismatch(bytes, at: received) else { return }
        let position = received + UInt64(index)
        world.journal.fail("byte \(position) arrives as \(bytes[index]), and was sent as \(expected)")
    }

    private func write(_ pipe: Pipe, upTo room: Int) {
        let limit = chunks.count == 1 ? chunks[0] : world.chance.choices.pick(from: chunks)
        let count = min(room, limit)
        if behavior == .echo {
            pending.withBytes { pipe.inward.append($0.extracting(first: count)) }
            pending.removeFirst(count)
        } else {
            ownPattern.withBytes(at: sent, count: count) { pipe.inward.append($0) }
        }
        sent += UInt64(count)
        world.note("writes \(count)", to: pipe.device)
        changed(pipe)
    }

    private func changed(_ pipe: Pipe) {
        world.actors[pipe.device].pipeChanged()
        world.wake(pipe.device)
    }

    /// The connection is over; what it has not read is lost.
    func hangUp() {
        if let pipe {
            if !pipe.outward.isEmpty || !pending.isEmpty { channel.isExact = false }
            if channel.client === self { channel.lostFromGuest += UInt64(pipe.outward.count) }
            pipe.outward = ByteQueue()
            pipe.isHungUp = true
        }
        pending = ByteQueue()
        pipe = nil
    }

    /// A client that was away comes back.
    override func timerFired(_: TimerList.Purpose) {
        world.wake(id)
    }

    override func hash(into hasher: inout Hasher) {
        hasher.combine(sent)
        hasher.combine(received)
        hasher.combine(pending)
    }
}
