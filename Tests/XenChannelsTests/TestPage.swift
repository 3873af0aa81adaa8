// SPDX-License-Identifier: MIT

import XenRing

/// A page as bytes, that the test can change as a hostile peer would.
final class TestPage: RingMemory {
    var bytes = [UInt8](repeating: 0, count: 4096)

    func loadRelaxed(at offset: Int) -> UInt32 { loadAcquire(at: offset) }

    func loadAcquire(at offset: Int) -> UInt32 {
        (0..<4).reduce(0) { $0 | UInt32(bytes[offset + $1]) << UInt32(8 * $1) }
    }

    func storeRelease(_ value: UInt32, at offset: Int) {
        for index in 0..<4 { bytes[offset + index] = UInt8(truncatingIfNeeded: value >> UInt32(8 * index)) }
    }

    func loadAcquireByte(at offset: Int) -> UInt8 { bytes[offset] }

    func storeReleaseByte(_ value: UInt8, at offset: Int) { bytes[offset] = value }

    func fence() {}

    func copyIn(_ source: UnsafeRawBufferPointer, at offset: Int) {
        for index in source.indices { bytes[offset + index] = unsafe source[index] }
    }

    func copyOut(at offset: Int, into destination: UnsafeMutableRawBufferPointer) {
        for index in destination.indices { unsafe destination[index] = bytes[offset + index] }
    }
}
