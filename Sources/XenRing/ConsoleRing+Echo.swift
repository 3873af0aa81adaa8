// SPDX-License-Identifier: MIT

extension ConsoleRing {
    /// Gives back what the peer sent, as much of it as there is room for, from ring to ring; returns how many bytes that was.
    ///
    /// The rest stays where it is: nothing is kept, and a peer that does not take its bytes back must wait with more. Reads each of the peer's
    /// indices at most once. Throws `RingViolation`, with nothing moved, if one of them is out of range. After more than no bytes the peer is
    /// notified (A20, A25).
    @inlinable
    public mutating func echo() throws(RingViolation) -> Int {
        let waiting = try input.count()
        guard waiting > 0 else { return 0 }
        let count = min(waiting, try output.beginCopy())
        var (source, target) = (input.consumed, output.produced)
        let end = source + count
        while source != end {
            let (from, to) = (source.position(in: input.layout), target.position(in: output.layout))
            let piece = min(Int(end - source), input.capacity &- from, output.capacity &- to)
            input.memory.copy(piece, from: input.layout.data &+ from, to: output.layout.data &+ to)
            (source, target) = (source + piece, target + piece)
        }
        output.endCopy(at: target)
        input.advance(by: count)
        return count
    }
}
