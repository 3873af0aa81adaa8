// SPDX-License-Identifier: MIT

import Glibc
import Synchronization
import XenChannelIO
import XenRing

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
            // A pipe that is full of events is as pending as one can be: two writers that wait for each other would wait for ever.
            _ = fcntl(ends.write, F_SETFL, O_NONBLOCK)
            return .event(read: ends.read, write: ends.write)
        case .adaptive, .blocking:
            do {
                return .door(try Doorbell(), patience: kind == .adaptive ? Doorbell.defaultPatience : 0)
            } catch {
                refuse("\(error)")
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
    /// Where the two rings begin: a pair may stream more than once.
    private let start = Atomic<Int>(0)
    private let events = Atomic<Int>(0)
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

    /// Events that were sent while streaming, in both directions; counted where each costs a system call.
    var eventCount: Int { events.load(ordering: .relaxed) }
    var bytesStreamed: Int { start.load(ordering: .relaxed) }

    /// Seconds for `total` bytes in one direction.
    func stream(_ total: Int, _ chunk: Int) -> Double {
        let time = together({ [self] in receive(total, chunk) }, { send(total, chunk) })
        start.add(total, ordering: .relaxed)
        return time
    }

    /// Sends bytes that differ, in pieces of all lengths, and compares.
    func verify() {
        let total = 20_000
        var received: [UInt8] = []
        let bytes = (0..<total).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
        _ = together(
            { [self] in
                var producer = RingProducer(fresh: page, layout: .consoleOut)
                var done = 0
                while done < total {
                    let piece = min(done % 2100 + 1, total - done)
                    let written = (try? producer.write(bytes.span.extracting(done..<(done + piece)))) ?? 0
                    done += written
                    if written > 0 { ring(toBackend) } else { toFrontend.wait { (try? producer.isFull()) == false } }
                }
            },
            {
                var consumer = RingConsumer(fresh: page, layout: .consoleOut)
                while received.count < total {
                    let before = received.count
                    received.append(addingCapacity: 200) { output in _ = try? consumer.read(appendingTo: &output) }
                    if received.count > before {
                        ring(toFrontend)
                    } else {
                        toBackend.wait { (try? consumer.isEmpty()) == false }
                    }
                }
            }
        )
        insist(received == bytes, "what comes out went in")
    }

    private func ring(_ bell: Bell) {
        if case .event = bell { events.add(1, ordering: .relaxed) }
        bell.ring()
    }

    private func send(_ total: Int, _ chunk: Int) {
        guard var producer = try? RingProducer(attaching: page, layout: .consoleOut) else { return }
        let bytes = [UInt8](repeating: 7, count: chunk)
        var left = total
        while left > 0 {
            var done = 0
            let count = min(chunk, left)
            while done < count {
                let written = (try? producer.write(bytes.span.extracting(done..<count))) ?? 0
                done += written
                if written > 0 {
                    ring(toBackend)
                } else {
                    toFrontend.wait { (try? producer.isFull()) == false }
                }
            }
            left -= count
        }
    }

    private func receive(_ total: Int, _ chunk: Int) {
        guard var consumer = try? RingConsumer(attaching: page, layout: .consoleOut) else { return }
        var bytes = [UInt8](repeating: 0, count: chunk)
        var left = total
        while left > 0 {
            var output = bytes.mutableSpan
            let count = (try? consumer.read(into: &output)) ?? 0
            left -= count
            if count > 0 {
                ring(toFrontend)
            } else {
                toBackend.wait { (try? consumer.isEmpty()) == false }
            }
        }
        insist(bytes.allSatisfy { $0 == 7 }, "what comes out went in")
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
