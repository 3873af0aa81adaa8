// SPDX-License-Identifier: MIT

public import XenRing

/// A console page as a person would draw it: both rings, their used part and its wrap, the bytes that wait, the
/// flag, and what is wrong.
///
/// It looks at a copy of the page (`struct xencons_interface`), which need not be consistent; nothing in it makes the
/// picture fail.
public struct RingPicture: Sendable {
    /// One of the page's two rings.
    public struct Ring: Hashable, Sendable {
        /// `in` or `out`.
        public let name: String
        /// Who writes to whom.
        public let direction: String
        /// Where it lies.
        public let layout: RingLayout
        /// The consumer index as it stands in the page.
        public let consumer: RingIndex
        /// The producer index as it stands in the page.
        public let producer: RingIndex
        /// The bytes that wait to be consumed, in order; none if the indices make no sense.
        public let queued: [UInt8]

        /// How far the producer is ahead.
        public var used: UInt32 { producer - consumer }
        /// Whether that is possible.
        public var isSane: Bool { used <= layout.capacity }
    }

    /// The rings: `in`, towards the guest, then `out`.
    public let rings: [Ring]
    /// The `connection` byte.
    public let connection: UInt8
    /// What is wrong with the page, in sentences; empty for a healthy one.
    public let problems: [String]

    /// Looks at a page.
    ///
    /// A text of the wrong size is a problem of its own; what is there of it is shown, with zeros behind it.
    public init(_ page: [UInt8]) {
        var bytes = Array(page.prefix(SharedPage.size))
        bytes += Array(repeating: 0, count: SharedPage.size - bytes.count)
        rings = [
            RingPicture.ring("in", "backend → frontend", .consoleIn, bytes),
            RingPicture.ring("out", "frontend → backend", .consoleOut, bytes),
        ]
        connection = bytes[ConsoleConnection.offset]
        problems = RingPicture.problems(rings, bytes, size: page.count)
    }

    private static func ring(_ name: String, _ direction: String, _ layout: RingLayout, _ page: [UInt8]) -> Ring {
        let consumer = RingIndex(word(page, layout.consumerIndex))
        let producer = RingIndex(word(page, layout.producerIndex))
        let used = producer - consumer
        let queued =
            used <= layout.capacity
            ? (0..<Int(used)).map { page[layout.data + (consumer + $0).position(in: layout.capacity)] } : []
        return Ring(
            name: name,
            direction: direction,
            layout: layout,
            consumer: consumer,
            producer: producer,
            queued: queued
        )
    }

    /// A word in the byte order of Xen's machines, all of which are little-endian (A4).
    private static func word(_ page: [UInt8], _ offset: Int) -> UInt32 {
        (0..<4).reduce(0) { $0 | UInt32(page[offset + $1]) << UInt32(8 * $1) }
    }

    private static func problems(_ rings: [Ring], _ page: [UInt8], size: Int) -> [String] {
        var problems: [String] = []
        if size != SharedPage.size {
            problems.append("the page has \(size) bytes, not \(SharedPage.size)")
        }
        for ring in rings where !ring.isSane {
            let behind = ring.consumer - ring.producer
            let how =
                behind <= ring.layout.capacity
                ? "\(ring.name)_cons is \(behind) ahead of \(ring.name)_prod"
                : "\(ring.name)_prod is \(ring.used) ahead of \(ring.name)_cons, and the ring has \(ring.layout.capacity) bytes"
            problems.append(how)
        }
        let flag = page[ConsoleConnection.offset]
        if flag > 1 {
            problems.append("the connection byte is \(flag), which is neither 0 nor 1; it means connected")
        }
        let unused = page[(ConsoleConnection.offset + 1)...]
        let dirty = unused.count { $0 != 0 }
        if dirty > 0, let first = unused.firstIndex(where: { $0 != 0 }) {
            problems.append("\(dirty) bytes behind the connection byte are not zero, the first at \(first)")
        }
        return problems
    }
}
