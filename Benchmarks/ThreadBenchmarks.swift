// SPDX-License-Identifier: MIT

import Foundation
import Glibc
import XenChannelIO
import XenRing

/// The ring between two threads, against the ways of the system.
enum ThreadBenchmarks {
    static func run(in suite: Suite) throws {
        guard suite.wants("threads/") else { return }
        let total = suite.isQuick ? 8_000_000 : 40_000_000
        for chunk in [64, 512, 1024, 2048] {
            let goal: Goal = chunk < 2048 ? .atLeast(2) : .atLeast(1)
            suite.compare(
                "threads/stream/\(chunk)",
                unit: "MB/s",
                ours: { rate(total, RingPair().stream(total, chunk, patience: Doorbell.defaultPatience)) },
                peers: [
                    ("pipe", goal, { rate(total, Stream.pipe().stream(total, chunk)) }),
                    ("socketpair", nil, { rate(total, Stream.socketpair().stream(total, chunk)) }),
                    ("pty", nil, { rate(total / 8, Stream.pty().stream(total / 8, chunk)) }),
                    ("the ring, spinning", nil, { rate(total, RingPair().stream(total, chunk, patience: .max)) }),
                    (
                        "the ring, an event each time", nil,
                        { rate(total / 8, RingPair().stream(total / 8, chunk, patience: nil)) }
                    ),
                ]
            )
        }
        let trips = suite.isQuick ? 5000 : 20_000
        suite.compare(
            "threads/round trip, blocking",
            unit: "us",
            ours: { RingPair().roundTrips(trips, patience: 0) / Double(trips) * 1e6 },
            peers: [
                ("pipe", .atMost(1.1), { Stream.pipe().roundTrips(trips) / Double(trips) * 1e6 }),
                ("socketpair", nil, { Stream.socketpair().roundTrips(trips) / Double(trips) * 1e6 }),
                ("the ring, adaptive", nil, { RingPair().roundTrips(trips, patience: 1000) / Double(trips) * 1e6 }),
            ]
        )
    }

    private static func rate(_ bytes: Int, _ seconds: Double) -> Double {
        Double(bytes) / seconds / 1e6
    }
}

/// Runs two bodies at once and returns how long both took.
func together(_ first: @escaping @Sendable () -> Void, _ second: () -> Void) -> Double {
    let done = DispatchSemaphore(value: 0)
    let thread = Thread {
        first()
        done.signal()
    }
    return seconds {
        thread.start()
        second()
        done.wait()
    }
}

/// Two ends of a console page, each in a thread, with a bell for each.
final class RingPair: Sendable {
    private let page: SharedPage
    private let toBackend: Doorbell
    private let toFrontend: Doorbell

    init() {
        let memory = UnsafeMutableRawPointer.allocate(byteCount: SharedPage.size, alignment: SharedPage.size)
        unsafe memory.initializeMemory(as: UInt8.self, repeating: 0, count: SharedPage.size)
        page = unsafe SharedPage(base: memory)
        do {
            toBackend = try Doorbell()
            toFrontend = try Doorbell()
        } catch {
            fatalError("\(error)")
        }
    }

    deinit {
        unsafe page.baseAddress.deallocate()
    }

    /// Seconds for `total` bytes in one direction; nil patience: no look at all, and the bell is a system call each time.
    func stream(_ total: Int, _ chunk: Int, patience: Int?) -> Double {
        together({ [self] in receive(total, chunk, patience) }, { send(total, chunk, patience) })
    }

    private func send(_ total: Int, _ chunk: Int, _ patience: Int?) {
        var producer = RingProducer(fresh: page, layout: .consoleOut)
        let bytes = [UInt8](repeating: 7, count: chunk)
        var left = total
        while left > 0 {
            var done = 0
            let count = min(chunk, left)
            while done < count {
                let written = (try? producer.write(bytes.span.extracting(done..<count))) ?? 0
                done += written
                if written > 0 {
                    toBackend.ring()
                } else {
                    toFrontend.wait(patience: patience ?? 0) { (try? producer.isFull()) == false }
                }
            }
            left -= count
        }
    }

    private func receive(_ total: Int, _ chunk: Int, _ patience: Int?) {
        var consumer = RingConsumer(fresh: page, layout: .consoleOut)
        var bytes = [UInt8](repeating: 0, count: chunk)
        var left = total
        while left > 0 {
            var output = bytes.mutableSpan
            let count = (try? consumer.read(into: &output)) ?? 0
            left -= count
            if count > 0 {
                toFrontend.ring()
            } else {
                toBackend.wait(patience: patience ?? 0) { (try? consumer.isEmpty()) == false }
            }
        }
        precondition(bytes.allSatisfy { $0 == 7 }, "what comes out went in")
    }

    /// Seconds for `count` round trips of one byte.
    func roundTrips(_ count: Int, patience: Int) -> Double {
        together(
            { [self] in
                var ring = ConsoleRing(fresh: page, as: .backend)
                for _ in 0..<count {
                    relay(&ring, toBackend, toFrontend, patience)
                }
            },
            { [self] in
                var ring = ConsoleRing(fresh: page, as: .frontend)
                let byte: [UInt8] = [1]
                for _ in 0..<count {
                    _ = try? ring.output.write(byte.span)
                    toBackend.ring()
                    take(&ring, toFrontend, patience)
                }
            }
        )
    }

    private func relay(_ ring: inout ConsoleRing<SharedPage>, _ from: Doorbell, _ to: Doorbell, _ patience: Int) {
        take(&ring, from, patience)
        let byte: [UInt8] = [1]
        _ = try? ring.output.write(byte.span)
        to.ring()
    }

    private func take(_ ring: inout ConsoleRing<SharedPage>, _ bell: Doorbell, _ patience: Int) {
        bell.wait(patience: patience) { (try? ring.input.isEmpty()) == false }
        ring.input.advance(by: 1)
    }
}

/// Two descriptors of the system.
struct Stream: Sendable {
    private let near: (read: Int32, write: Int32)
    private let far: (read: Int32, write: Int32)

    static func pipe() -> Stream {
        var there: [Int32] = [0, 0]
        var back: [Int32] = [0, 0]
        precondition(unsafe Glibc.pipe(&there) == 0 && Glibc.pipe(&back) == 0, "two pipes")
        return Stream(near: (back[0], there[1]), far: (there[0], back[1]))
    }

    static func socketpair() -> Stream {
        var ends: [Int32] = [0, 0]
        precondition(unsafe Glibc.socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0, "a pair")
        return Stream(near: (ends[0], ends[0]), far: (ends[1], ends[1]))
    }

    static func pty() -> Stream {
        var master: Int32 = 0
        var slave: Int32 = 0
        var settings = termios()
        unsafe cfmakeraw(&settings)
        precondition(unsafe openpty(&master, &slave, nil, &settings, nil) == 0, "a terminal")
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
