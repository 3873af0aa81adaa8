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
                ours: { rate(total, RingPair(.adaptive).stream(total, chunk)) },
                peers: [
                    ("pipe", goal, { rate(total, Stream.pipe().stream(total, chunk)) }),
                    ("socketpair", nil, { rate(total, Stream.socketpair().stream(total, chunk)) }),
                    ("pty", nil, { rate(total / 8, Stream.pty().stream(total / 8, chunk)) }),
                    ("the ring, spinning", nil, { rate(total, RingPair(.spinning).stream(total, chunk)) }),
                    (
                        "the ring, an event each time", nil,
                        { rate(total / 8, RingPair(.event).stream(total / 8, chunk)) }
                    ),
                ]
            )
        }
        let trips = suite.isQuick ? 5000 : 20_000
        suite.compare(
            "threads/round trip, blocking",
            unit: "us",
            ours: { RingPair(.blocking).roundTrips(trips) / Double(trips) * 1e6 },
            peers: [
                ("pipe", .atMost(1.1), { Stream.pipe().roundTrips(trips) / Double(trips) * 1e6 }),
                ("socketpair", nil, { Stream.socketpair().roundTrips(trips) / Double(trips) * 1e6 }),
                ("the ring, adaptive", nil, { RingPair(.adaptive).roundTrips(trips) / Double(trips) * 1e6 }),
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

/// How one thread tells another that there is work.
enum Bell: Sendable {
    /// The library's: looks for a while, then sleeps; rings only a sleeper.
    case door(Doorbell, patience: Int)
    /// Never sleeps.
    case none
    /// A system call for each event, as to a real peer.
    case event(read: Int32, write: Int32)

    enum Kind {
        case adaptive
        case blocking
        case spinning
        case event
    }

    static func make(_ kind: Kind) -> Bell {
        switch kind {
        case .spinning: return .none
        case .event:
            let ends = Stream.pipeEnds()
            return .event(read: ends.read, write: ends.write)
        case .adaptive, .blocking:
            do {
                return .door(try Doorbell(), patience: kind == .adaptive ? Doorbell.defaultPatience : 0)
            } catch {
                fatalError("\(error)")
            }
        }
    }

    func ring() {
        switch self {
        case .door(let bell, _): bell.ring()
        case .none: break
        case .event(_, let descriptor):
            var byte: UInt8 = 0
            _ = unsafe write(descriptor, &byte, 1)
        }
    }

    func wait(until isReady: () -> Bool) {
        switch self {
        case .door(let bell, let patience): bell.wait(patience: patience, until: isReady)
        case .none: while !isReady() {}
        case .event(let descriptor, _):
            var bytes: UInt64 = 0
            while !isReady() { _ = unsafe read(descriptor, &bytes, 8) }
        }
    }

    func close() {
        if case .event(let read, let write) = self {
            Glibc.close(read)
            Glibc.close(write)
        }
    }
}

/// Two ends of a console page, each in a thread, with a bell for each.
final class RingPair: Sendable {
    private let page: SharedPage
    private let toBackend: Bell
    private let toFrontend: Bell

    init(_ kind: Bell.Kind) {
        let memory = UnsafeMutableRawPointer.allocate(byteCount: SharedPage.size, alignment: SharedPage.size)
        unsafe memory.initializeMemory(as: UInt8.self, repeating: 0, count: SharedPage.size)
        page = unsafe SharedPage(base: memory)
        toBackend = .make(kind)
        toFrontend = .make(kind)
    }

    deinit {
        toBackend.close()
        toFrontend.close()
        unsafe page.baseAddress.deallocate()
    }

    /// Seconds for `total` bytes in one direction.
    func stream(_ total: Int, _ chunk: Int) -> Double {
        together({ [self] in receive(total, chunk) }, { send(total, chunk) })
    }

    private func send(_ total: Int, _ chunk: Int) {
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
                    toFrontend.wait { (try? producer.isFull()) == false }
                }
            }
            left -= count
        }
    }

    private func receive(_ total: Int, _ chunk: Int) {
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
                toBackend.wait { (try? consumer.isEmpty()) == false }
            }
        }
        precondition(bytes.allSatisfy { $0 == 7 }, "what comes out went in")
    }

    /// Seconds for `count` round trips of one byte.
    func roundTrips(_ count: Int) -> Double {
        together(
            { [self] in
                var ring = ConsoleRing(fresh: page, as: .backend)
                for _ in 0..<count {
                    take(&ring, toBackend)
                    give(&ring, toFrontend)
                }
            },
            { [self] in
                var ring = ConsoleRing(fresh: page, as: .frontend)
                for _ in 0..<count {
                    give(&ring, toBackend)
                    take(&ring, toFrontend)
                }
            }
        )
    }

    private func give(_ ring: inout ConsoleRing<SharedPage>, _ bell: Bell) {
        let byte: [UInt8] = [1]
        _ = try? ring.output.write(byte.span)
        bell.ring()
    }

    private func take(_ ring: inout ConsoleRing<SharedPage>, _ bell: Bell) {
        bell.wait { (try? ring.input.isEmpty()) == false }
        ring.input.advance(by: 1)
    }
}

/// Two descriptors of the system.
struct Stream: Sendable {
    private let near: (read: Int32, write: Int32)
    private let far: (read: Int32, write: Int32)

    static func pipeEnds() -> (read: Int32, write: Int32) {
        var ends: [Int32] = [0, 0]
        precondition(unsafe Glibc.pipe(&ends) == 0, "a pipe")
        return (ends[0], ends[1])
    }

    static func pipe() -> Stream {
        let there = pipeEnds()
        let back = pipeEnds()
        return Stream(near: (back.read, there.write), far: (there.read, back.write))
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
