// SPDX-License-Identifier: MIT

import Testing
import XenRing

@testable import XenChannels

/// What the memory of queues costs: how often bytes move in it, and who keeps how much.
struct QueueMemoryTests {
    private func bytes(_ count: Int) -> [UInt8] { [UInt8](repeating: 7, count: count) }

    /// A way of using a queue, in steps of so many bytes.
    enum Use: CaseIterable {
        /// It only grows.
        case growing
        /// As many bytes are taken as come, and many stay.
        case steady
        /// It becomes empty again and again.
        case idle
    }

    @Test(arguments: Use.allCases, [1, 3, 500])
    func `each byte moves a bounded number of times, and memory twice as long as need be suffices`(
        use: Use,
        step: Int
    ) {
        var queue = ByteQueue()
        var (appended, moved, most) = (0, 0, 0)
        func append(_ count: Int) {
            let (size, first, waiting) = (queue.storage.count, queue.first, queue.count)
            queue.append(bytes(count).span)
            if queue.storage.count != size || queue.first != first { moved += waiting }
            appended += count
            most = max(most, queue.count)
        }
        if use == .steady { append(2000) }
        for _ in 0..<3000 {
            append(step)
            if use != .growing { queue.removeFirst(step) }
        }
        #expect(moved <= 2 * appended)
        #expect(queue.storage.count <= 4 * max(most, 1000))
    }

    @Test func `memory that is mostly used, or that an empty queue may keep, is not given away`() {
        var spare = SpareMemory()
        var full = ByteQueue()
        full.append(bytes(60_000).span)
        let size = full.storage.count
        full.removeFirst(60_000 - size / 4 - 1)
        full.trim(giving: &spare)
        #expect(full.storage.count == size && spare.pieces.isEmpty)
        full.removeFirst(1)
        full.trim(giving: &spare)
        #expect(full.count == size / 4 && full.storage.count < size && spare.pieces.count == 1)

        var small = ByteQueue()
        small.append(bytes(ByteQueue.keptCapacity / 2).span)
        let kept = small.storage.count
        small.removeFirst(small.count)
        small.trim(giving: &spare)
        #expect(small.storage.count == kept && spare.pieces.count == 1)
    }

    @Test func `only an empty queue without much memory uses that of others`() {
        var spare = SpareMemory()
        var memory = bytes(10_000)
        spare.keep(&memory)
        var queue = ByteQueue()
        queue.append(bytes(10).span)
        queue.useMemory(of: &spare)
        #expect(queue.count == 10 && spare.pieces.count == 1)
        queue.append(bytes(60_000).span)
        queue.take(queue.count) { _ in }
        queue.useMemory(of: &spare)
        #expect(queue.isEmpty && spare.pieces.count == 1)
        queue.trim()
        queue.useMemory(of: &spare)
        #expect(spare.pieces.isEmpty && queue.storage.count == 10_000)
    }

    @Test func `a few pieces are spared, none of them very large, and the last one is used first`() {
        var spare = SpareMemory()
        for size in [5000, 6000, 7000, 8000, 9000, 10_000] {
            var memory = bytes(size)
            spare.keep(&memory)
            #expect(memory.isEmpty)
        }
        var sizes: [Int] = []
        for _ in 0..<5 {
            var memory = bytes(1)
            spare.take(into: &memory)
            sizes.append(memory.count)
        }
        #expect(sizes == [8000, 7000, 6000, 5000, 1])
        var large = bytes(SpareMemory.largestPiece + 1)
        spare.keep(&large)
        #expect(large.isEmpty && spare.pieces.isEmpty)
    }

    @Test func `relays hand the memory of an empty backlog on to each other, and an idle one keeps none of it`() throws
    {
        var spare = SpareMemory()
        let page = TestPage()
        var front = ConsoleRing(fresh: page, as: .frontend)
        var back = ConsoleRing(fresh: page, as: .backend)
        var first = RingRelay(limit: 100_000)
        for _ in 0..<5 {
            _ = try front.output.write(bytes(2048).span)
            _ = first.drain(&back, using: &spare)
        }
        #expect(first.backlog.count == 5 * 2048 && spare.pieces.isEmpty)
        first.handedOut(5 * 2048, giving: &spare)
        #expect(spare.pieces.count == 1)
        var second = RingRelay(limit: 100_000)
        // It finds nothing, and leaves the memory to others.
        _ = second.drain(&back, using: &spare)
        #expect(spare.pieces.count == 1 && second.backlog.storage.count <= ByteQueue.keptCapacity)
        _ = try front.output.write(bytes(2048).span)
        _ = second.drain(&back, using: &spare)
        #expect(spare.pieces.isEmpty && second.backlog.storage.count > 5 * 2048)
    }
}
