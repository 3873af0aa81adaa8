// SPDX-License-Identifier: MIT

import Glibc

/// Two descriptors of the system.
struct Stream: Sendable {
    private let near: (read: Int32, write: Int32)
    private let far: (read: Int32, write: Int32)

    static func pipeEnds() -> (read: Int32, write: Int32) {
        var ends: [Int32] = [0, 0]
        insist(unsafe Glibc.pipe(&ends) == 0, "a pipe")
        return (ends[0], ends[1])
    }

    static func pipe() -> Stream {
        let there = pipeEnds()
        let back = pipeEnds()
        return Stream(near: (back.read, there.write), far: (there.read, back.write))
    }

    static func socketpair() -> Stream {
        var ends: [Int32] = [0, 0]
        insist(unsafe Glibc.socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0, "a pair")
        return Stream(near: (ends[0], ends[0]), far: (ends[1], ends[1]))
    }

    static func pty() -> Stream {
        var master: Int32 = 0
        var slave: Int32 = 0
        var settings = termios()
        unsafe cfmakeraw(&settings)
        insist(unsafe openpty(&master, &slave, nil, &settings, nil) == 0, "a terminal")
        return Stream(near: (slave, slave), far: (master, master))
    }

    func stream(_ total: Int, _ chunk: Int) -> Double {
        defer { close() }
        return together({ take(total, chunk) }, { give(total, chunk) })
    }

    func roundTrips(_ count: Int) -> Double {
        defer { close() }
        return together(
            {
                var byte: UInt8 = 0
                for _ in 0..<count {
                    _ = unsafe Glibc.read(far.read, &byte, 1)
                    _ = unsafe Glibc.write(far.write, &byte, 1)
                }
            },
            {
                var byte: UInt8 = 0
                for _ in 0..<count {
                    _ = unsafe Glibc.write(near.write, &byte, 1)
                    _ = unsafe Glibc.read(near.read, &byte, 1)
                }
            }
        )
    }

    private func give(_ total: Int, _ chunk: Int) {
        let bytes = [UInt8](repeating: 7, count: chunk)
        var left = total
        while left > 0 {
            let count = unsafe Glibc.write(near.write, bytes, min(chunk, left))
            if count > 0 { left -= count }
        }
    }

    private func take(_ total: Int, _ chunk: Int) {
        var bytes = [UInt8](repeating: 0, count: chunk)
        var left = total
        while left > 0 {
            let count = unsafe Glibc.read(far.read, &bytes, chunk)
            if count > 0 { left -= count }
        }
    }

    private func close() {
        for descriptor in Set([near.read, near.write, far.read, far.write]) { Glibc.close(descriptor) }
    }
}
