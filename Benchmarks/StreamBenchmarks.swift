// SPDX-License-Identifier: MIT

import Foundation
import XenChannelIO
import XenChannels

/// What waiting in a task costs at a `ChannelStream`: where there is nothing to wait for, against the calls that do not
/// wait; and where two tasks wait for each other.
enum StreamBenchmarks {
    static func run(in suite: Suite) throws {
        guard suite.wants("stream/") else { return }
        let pair = try StreamPair()
        defer { pair.stop() }
        verify("stream/") { pair.verify() }
        let count = suite.isQuick ? 50_000 : 200_000
        var synchronous: [Double] = []
        var ready: [Double] = []
        suite.measure("stream/write+read in a task that need not wait", unit: "ns") {
            synchronous.append(pair.calls(count))
            ready.append(pair.awaitedCalls(count))
            return ready.last ?? .nan
        }
        // A write and a read: two calls.
        let added = zip(ready, synchronous).map { ($0 - $1) / 2 }
        if !added.isEmpty {
            var more = Measurement("stream/added to a call that need not wait", added.median, "ns", goal: .atMost(25))
            more.spread = added.spread
            suite.add(more)
        }
        suite.measure("stream/round trip of two tasks that wait", unit: "ns") { pair.roundTrips(count / 5) }
        let name = "stream/counted"
        suite.count(name, "of a pair of calls outside of tasks", retains: .atMost(0)) { pair.calls($0) }
        suite.count(name, "of a pair of calls that need not wait", retains: .atMost(0)) { pair.awaitedCalls($0) }
        suite.count(name, "of a pair of calls that wait", retains: nil) { pair.roundTrips($0) }
    }
}

/// Both ends of a channel in this program, and in one loop, which the caller turns while it measures.
final class StreamPair {
    private let reactor: Reactor
    private let backend: BackendDaemon
    private let guest: GuestDaemon
    private let front: ChannelStream
    private let back: ChannelStream
    private static let size = 64

    /// Where the daemons leave the streams.
    private final class Ends: @unchecked Sendable {
        var front: ChannelStream?
        var back: ChannelStream?
    }

    init() throws {
        let host = LiveHost()
        let reactor = try Reactor()
        let ends = Ends()
        let backend = BackendDaemon(of: host.controlDomain, on: reactor)
        backend.handlers = { _ in .callback { ends.back = $0 } }
        let specification = try ChannelSpecification("connection=socket,path=\(Scratch.path("none")),name=c")
        let channels = try ChannelConfiguration.list([specification])
        let domain = try LiveToolstack(on: host).createGuest(name: "g", uuid: UUID().uuidString) { _ in channels }
        let guest = GuestDaemon(of: domain, on: reactor) { _ in .handler(.callback { ends.front = $0 }) }
        let work = reactor.addWork { [unowned reactor] in
            if ends.front?.isConnected == true, ends.back?.isConnected == true { reactor.stop() }
            return false
        }
        backend.start()
        guest.start()
        reactor.run()
        work.cancel()
        guard let front = ends.front, let back = ends.back else { refuse("a channel has two ends") }
        (self.reactor, self.backend, self.guest, self.front, self.back) = (reactor, backend, guest, front, back)
    }

    /// Closes the channel.
    func stop() {
        guest.close { [backend, reactor] in backend.close { reactor.stop() } }
        reactor.run()
    }

    func verify() {
        let sent = (0..<5000).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
        back.task { stream in
            let count = await stream.write(sent)
            insist(count == sent.count, "all is written")
        }
        run { stream in
            var received: [UInt8] = []
            var buffer = [UInt8](repeating: 0, count: 300)
            while received.count < sent.count, let count = await stream.read(into: &buffer) {
                received += buffer[..<count]
            }
            insist(received == sent, "what comes out went in")
        }
    }

    /// Nanoseconds of a write and a read by the calls that do not wait.
    func calls(_ count: Int) -> Double {
        nonisolated(unsafe) let back = back
        return timed(count) { front in
            let bytes = [UInt8](repeating: 7, count: StreamPair.size)
            var buffer = bytes
            for _ in 0..<count {
                var span = buffer.mutableSpan
                let moved = unsafe min(front.write(bytes.span), back.read(into: &span))
                insist(moved == StreamPair.size, "nothing is in the way")
            }
        }
    }

    /// The same by those that wait, where there is nothing to wait for.
    func awaitedCalls(_ count: Int) -> Double {
        nonisolated(unsafe) let back = back
        return timed(count) { front in
            let bytes = [UInt8](repeating: 7, count: StreamPair.size)
            var buffer = bytes
            for _ in 0..<count {
                let written = await front.write(bytes)
                let read = await unsafe back.read(into: &buffer)
                insist(written == StreamPair.size && read == written, "nothing is in the way")
            }
        }
    }

    /// Nanoseconds of a question and its answer, each of which waits.
    func roundTrips(_ count: Int) -> Double {
        back.task { stream in
            var buffer = [UInt8](repeating: 0, count: StreamPair.size)
            for _ in 0..<count {
                guard let taken = await stream.read(into: &buffer) else { return }
                await stream.write(buffer, 0..<taken)
            }
        }
        return timed(count) { front in
            let bytes = [UInt8](repeating: 7, count: StreamPair.size)
            var buffer = bytes
            for _ in 0..<count {
                await front.write(bytes)
                let read = await front.read(into: &buffer)
                insist(read == StreamPair.size, "the answer is whole")
            }
        }
    }

    private func timed(_ count: Int, _ body: @escaping @Sendable (ChannelStream) async -> Void) -> Double {
        nonisolated(unsafe) var time = 0.0
        run { stream in
            let start = nanoseconds()
            await body(stream)
            unsafe time = Double(nanoseconds() - start) / Double(count)
        }
        return unsafe time
    }

    /// Runs a task with the guest's end until it is done.
    private func run(_ body: @escaping @Sendable (ChannelStream) async -> Void) {
        nonisolated(unsafe) let reactor = reactor
        front.task { stream in
            await body(stream)
            unsafe reactor.stop()
        }
        unsafe reactor.run()
    }
}
