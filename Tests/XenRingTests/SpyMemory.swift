// SPDX-License-Identifier: MIT

import XenRing

/// One access of a ring end to shared memory.
enum Access: Hashable {
    case loadAcquire(Int)
    case loadRelaxed(Int)
    case storeRelease(Int, UInt32)
    case loadByte(Int)
    case storeByte(Int, UInt8)
    case fence
    case copyIn(Range<Int>)
    case copyOut(Range<Int>)
}

/// A page that writes down each access in its order, and lets somebody in before each of them.
///
/// An access outside the page, or to a word that is not aligned, traps in the test.
final class SpyMemory: RingMemory {
    var page: [UInt8]
    private(set) var log: [Access] = []
    /// Called before each access: what a peer may do at that very moment.
    var intrusion: ((inout [UInt8]) -> Void)?

    init(_ page: [UInt8] = Array(repeating: 0, count: 4096)) {
        self.page = page
    }

    /// Empties the log and returns what was in it.
    func takeLog() -> [Access] {
        defer { log.removeAll(keepingCapacity: true) }
        return log
    }

    subscript(word offset: Int) -> UInt32 {
        get {
            (0..<4).reduce(0) { $0 | UInt32(page[offset + $1]) << UInt32(8 * $1) }
        }
        set {
            for byte in 0..<4 { page[offset + byte] = UInt8(truncatingIfNeeded: newValue >> UInt32(8 * byte)) }
        }
    }

    private func access(_ access: Access) {
        intrusion?(&page)
        log.append(access)
    }

    func loadAcquire(at offset: Int) -> UInt32 {
        access(.loadAcquire(offset))
        return self[word: offset]
    }

    func loadRelaxed(at offset: Int) -> UInt32 {
        access(.loadRelaxed(offset))
        return self[word: offset]
    }

    func storeRelease(_ value: UInt32, at offset: Int) {
        access(.storeRelease(offset, value))
        self[word: offset] = value
    }

    func loadAcquireByte(at offset: Int) -> UInt8 {
        access(.loadByte(offset))
        return page[offset]
    }

    func storeReleaseByte(_ value: UInt8, at offset: Int) {
        access(.storeByte(offset, value))
        page[offset] = value
    }

    func fence() {
        access(.fence)
    }

    func copyIn(_ source: UnsafeRawBufferPointer, at offset: Int) {
        access(.copyIn(offset..<(offset + source.count)))
        unsafe page.replaceSubrange(offset..<(offset + source.count), with: source)
        precondition(page.count == 4096)
    }

    func copyOut(at offset: Int, into destination: UnsafeMutableRawBufferPointer) {
        access(.copyOut(offset..<(offset + destination.count)))
        unsafe destination.copyBytes(from: page[offset..<(offset + destination.count)])
    }
}
