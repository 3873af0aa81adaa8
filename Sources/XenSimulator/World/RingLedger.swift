// SPDX-License-Identifier: MIT

import XenRing

/// What one ring of a page ought to hold, kept beside the page from what its two sides did: the rules of the ring, as a bookkeeper
/// sees them. Every access is checked in constant time.
struct RingLedger: Hashable {
    /// Whether it is that of the ring `out`.
    private let isOutput: Bool
    private var layout: RingLayout { isOutput ? .consoleOut : .consoleIn }
    /// The producer's index as it was published last.
    private(set) var produced = RingIndex(0)
    /// The consumer's index as it was published last.
    private(set) var consumed = RingIndex(0)
    /// Bytes copied in behind `produced` and not yet published.
    private var written: UInt32 = 0
    /// Bytes copied out behind `consumed` and not yet given back.
    private var read: UInt32 = 0
    /// False once somebody wrote into the page without being the ring's end: only ranges can be checked then.
    var isTrusted = true

    init(isOutput: Bool) {
        self.isOutput = isOutput
    }

    /// The ring is empty, after so many bytes.
    mutating func begin(at index: RingIndex) {
        produced = index
        consumed = index
    }

    /// Bytes that were written and not yet read.
    var count: Int { Int(produced - consumed) }
    /// Bytes that can be written.
    var freeCapacity: Int { Int(layout.capacity) - count }

    /// The producer copies bytes in; says what is wrong with that.
    mutating func noteWrite(at offset: Int, count: Int) -> String? {
        guard isInside(offset, count) else { return "writes \(count) bytes at offset \(offset), outside its ring" }
        guard isTrusted else { return nil }
        let expected = (produced + Int(written)).position(in: layout.capacity)
        guard offset - layout.data == expected else {
            return "writes at position \(offset - layout.data) of its ring, not at \(expected)"
        }
        written += UInt32(count)
        return Int(written) <= freeCapacity
            ? nil : "writes over bytes that were not read: \(written) bytes into room for \(freeCapacity)"
    }

    /// The producer publishes its index; says what is wrong with that.
    mutating func publish(_ index: RingIndex) -> String? {
        let advance = index - produced
        let before = produced
        let fits = advance <= written
        produced = index
        written = 0
        return fits
            ? nil : "moves its producer index from \(before.rawValue) to \(index.rawValue), with no bytes for it"
    }

    /// The consumer copies bytes out; says what is wrong with that.
    mutating func noteRead(at offset: Int, count: Int) -> String? {
        guard isInside(offset, count) else { return "reads \(count) bytes at offset \(offset), outside its ring" }
        guard isTrusted else { return nil }
        let position = offset - layout.data
        if position == consumed.position(in: layout.capacity) { read = 0 }
        let expected = (consumed + Int(read)).position(in: layout.capacity)
        guard position == expected else { return "reads at position \(position) of its ring, not at \(expected)" }
        read += UInt32(count)
        return Int(read) <= self.count ? nil : "reads \(read) bytes where \(self.count) were written"
    }

    /// The consumer publishes its index; says what is wrong with that.
    mutating func giveBack(_ index: RingIndex) -> String? {
        let advance = index - consumed
        let before = consumed
        let fits = Int(advance) <= count
        consumed = index
        read = 0
        return fits
            ? nil : "moves its consumer index from \(before.rawValue) to \(index.rawValue), past what was written"
    }

    private func isInside(_ offset: Int, _ count: Int) -> Bool {
        offset >= layout.data && count >= 0 && offset + count <= layout.data + Int(layout.capacity)
    }
}
