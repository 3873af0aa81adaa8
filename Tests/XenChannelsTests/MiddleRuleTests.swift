// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenChannels
import XenExploration

/// Which bytes are dropped from the middle.
struct MiddleRuleTests {
    /// `buffer_append` of xenconsoled 4.17 for a buffer of which nothing was handed out, until it drops no more.
    private func xenconsoled(_ bytes: [Int], limit: Int) -> [Int] {
        var bytes = bytes
        while bytes.count > limit + limit / 4 {
            bytes = Array(bytes[..<(limit / 2)] + bytes[min(limit, bytes.count)...])
        }
        return bytes
    }

    /// `buffer_append` of QEMU 7.2, where it does not write in front of its buffer.
    private func qemu(_ bytes: [Int], limit: Int) -> [Int] {
        guard bytes.count > limit else { return bytes }
        let over = bytes.count - limit
        guard over <= limit else { return Array(bytes.suffix(limit)) }
        var buffer = bytes
        for index in 0..<over { buffer[limit - over + index] = bytes[limit + index] }
        return Array(buffer[..<limit])
    }

    @Test func `what is dropped is what xenconsoled and QEMU drop, for any size and limit (A27)`() {
        checkProperty(cases: 2000) { choices in
            let limit = choices.integer(in: 1...5000, corners: [1, 2, 3, 4, 2048])
            let bytes = Array(0..<choices.integer(in: 0...9000, corners: [limit, limit + 1, limit + limit / 4]))
            for (rule, reference) in [(MiddleRule.xenconsoled, xenconsoled), (.qemu, qemu)] {
                var left = bytes
                if let cut = rule.cut(of: bytes.count, limit: limit) { left.removeSubrange(cut) }
                try requireEqual(left, reference(bytes, limit), "\(rule) with limit \(limit) and \(bytes.count) bytes")
            }
        }
    }

    @Test func `what may just wait is no overflow`() {
        for limit in 1...20 {
            #expect(MiddleRule.xenconsoled.cut(of: limit + limit / 4, limit: limit) == nil)
            #expect(MiddleRule.qemu.cut(of: limit, limit: limit) == nil)
        }
    }
}
