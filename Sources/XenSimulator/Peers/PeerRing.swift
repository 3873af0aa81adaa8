// SPDX-License-Identifier: MIT

import XenChannels
import XenRing

/// A peer's end of a page: as the peers do it, without a private copy of the own indices (peers.md 1.1), and with nothing of the ring that
/// ships in it, so that it is a second opinion.
struct PeerRing {
    let access: PageAccess
    private let memory: SimulatedPage
    private let habits: PeerRingHabits
    private let produced: RingLayout
    private let consumed: RingLayout

    init(_ access: PageAccess, _ habits: PeerRingHabits) {
        self.access = access
        self.habits = habits
        memory = SimulatedPage(access: access)
        produced = access.role.output
        consumed = access.role.input
    }

    /// How many bytes can be put in; nil if the indices make no sense (A5, A31).
    var room: Int? {
        let used = memory.loadAcquire(at: produced.producerIndex) &- memory.loadAcquire(at: produced.consumerIndex)
        if habits.nonsense != .trusts, used > produced.capacity { return nil }
        return Int(produced.capacity) - Int(min(used, produced.capacity))
    }

    /// How many bytes can be taken; nil if the indices make no sense.
    var count: Int? {
        let prod = memory.loadAcquire(at: consumed.producerIndex)
        let cons = memory.loadAcquire(at: consumed.consumerIndex)
        if habits.comparison == .magnitude, cons >= prod { return 0 }
        let used = prod &- cons
        if habits.nonsense != .trusts, used > consumed.capacity { return nil }
        return Int(min(used, consumed.capacity))
    }

    /// Puts bytes in, for which there must be room.
    func put(_ bytes: Span<UInt8>) {
        let index = memory.loadRelaxed(at: produced.producerIndex)
        let position = Int(index & (produced.capacity - 1))
        let first = min(bytes.count, Int(produced.capacity) - position)
        unsafe bytes.bytes.withUnsafeBytes { source in
            let head = unsafe UnsafeRawBufferPointer(rebasing: source[..<first])
            unsafe memory.copyIn(head, at: produced.data + position)
            guard first < bytes.count else { return }
            let tail = unsafe UnsafeRawBufferPointer(rebasing: source[first...])
            unsafe memory.copyIn(tail, at: produced.data)
        }
        memory.storeRelease(index &+ UInt32(bytes.count), at: produced.producerIndex)
    }

    /// Takes so many bytes, which must be there.
    func take(_ count: Int) -> [UInt8] {
        let index = memory.loadRelaxed(at: consumed.consumerIndex)
        let position = Int(index & (consumed.capacity - 1))
        let first = min(count, Int(consumed.capacity) - position)
        var bytes = [UInt8](repeating: 0, count: count)
        unsafe bytes.withUnsafeMutableBytes { buffer in
            let head = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[..<first])
            unsafe memory.copyOut(at: consumed.data + position, into: head)
            guard first < count else { return }
            let tail = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[first...])
            unsafe memory.copyOut(at: consumed.data, into: tail)
        }
        memory.storeRelease(index &+ UInt32(count), at: consumed.consumerIndex)
        return bytes
    }
}
