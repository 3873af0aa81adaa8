// SPDX-License-Identifier: MIT

import XenExploration
import XenRing

/// Which end of a ring did something.
enum End: Hashable {
    case producer
    case consumer
}

/// What one operation of a ring end may do to the page, whatever the peer does: the rules of A14, A15, A31 and A32.
struct OperationRules {
    let end: End
    let layout: RingLayout

    var ownIndex: Int { end == .producer ? layout.producerIndex : layout.consumerIndex }
    var peerIndex: Int { end == .producer ? layout.consumerIndex : layout.producerIndex }

    /// Checks the accesses of an operation that began with the own index at `start`, moved `copied` bytes in or out,
    /// and moved the own index by `taken`.
    ///
    /// `loads` says whether the peer's index had to be read. The order is fixed as well: the peer's index, the data,
    /// the own index. A violation is `copied` and `taken` of 0.
    func check(
        _ log: [Access],
        start: RingIndex,
        copied: Int,
        taken: Int,
        loads: Bool
    ) throws(PropertyViolation) {
        var expected: [Access] = []
        if loads { expected.append(.loadAcquire(peerIndex)) }
        for piece in pieces(from: start, count: copied) {
            expected.append(end == .producer ? .copyIn(piece) : .copyOut(piece))
        }
        if taken > 0 { expected.append(.storeRelease(ownIndex, (start + taken).rawValue)) }
        try requireEqual(log, expected, "the accesses of a \(end) that moved \(copied) and took \(taken)")
    }

    /// The one or two stretches of the page that hold `count` bytes from `start` on; worked out byte by byte, to differ
    /// from how the ring does it.
    func pieces(from start: RingIndex, count: Int) -> [Range<Int>] {
        var pieces: [Range<Int>] = []
        for number in 0..<count {
            let index = start.rawValue &+ UInt32(number)
            let offset = layout.data + Int(index % layout.capacity)
            if let last = pieces.last, last.upperBound == offset {
                pieces[pieces.count - 1] = last.lowerBound..<(offset + 1)
            } else {
                pieces.append(offset..<(offset + 1))
            }
        }
        return pieces
    }
}

/// Rings small enough to be full and wrapped at every turn, and the four of Xen.
let tinyLayouts = [1, 2, 4, 8].map { capacity in
    RingLayout(data: 64, capacity: capacity, consumerIndex: 32, producerIndex: 40)
}
let xenLayouts: [RingLayout] = [.consoleIn, .consoleOut, .xenstoreRequest, .xenstoreResponse]

/// Indices where arithmetic goes wrong if it can: around 0, 2^31 and 2^32.
let cornerIndices: [UInt32] = [0, 1, 5, 0x7FFF_FFFA, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FC01, 0xFFFF_FFF9, 0xFFFF_FFFF]
