// SPDX-License-Identifier: MIT

import Testing

import XenInterface

struct StoreValueStorageTests {
    @Test(arguments: 0...40)
    func `bytes come back as they were taken, wherever they are kept`(count: Int) {
        let bytes = (0..<count).map { UInt8(truncatingIfNeeded: 255 - $0 &* 7) }
        let value = StoreValue(bytes)
        #expect(value.bytes == bytes)
        #expect(value.count == count)
        for index in bytes.indices {
            var other = bytes
            other[index] ^= 1
            #expect(StoreValue(other) != value)
        }
        #expect(StoreValue(bytes + [0]) != value)
    }
}
