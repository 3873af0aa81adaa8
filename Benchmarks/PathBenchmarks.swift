// SPDX-License-Identifier: MIT

import Foundation
import Glibc
import XenChannelIO

/// The whole path: a client on a socket, the backend, the ring, an agent that echoes, and back.
enum PathBenchmarks {
    static func run(in suite: Suite) throws {
        guard suite.wants("path/") else { return }
        let one = try World(channels: 1)
        defer { one.stop() }
        let two = try World(channels: 1, onTwoThreads: true)
        defer { two.stop() }
        let plain = try EchoServer()
        defer { plain.stop() }
        let bytes = suite.isQuick ? 4_000_000 : 20_000_000
        suite.compare(
            "path/throughput",
            unit: "MB/s",
            ours: { rate(one.path(0), bytes) },
            peers: [
                ("a plain echo server", .atLeast(0.7), { rate(plain.path, bytes) }),
                ("the agent in a thread of its own", nil, { rate(two.path(0), bytes) }),
            ]
        )
        let trips = suite.isQuick ? 2000 : 10_000
        for (name, part) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
            suite.compare(
                "path/round trip \(name)",
                unit: "us",
                ours: { trip(one.path(0), trips, part) },
                peers: [
                    ("a plain echo server", part == 0.5 ? .atMost(1.5) : nil, { trip(plain.path, trips, part) }),
                    ("the agent in a thread of its own", nil, { trip(two.path(0), trips, part) }),
                ]
            )
        }
    }

    /// MB/s of an echo, both directions at once, counted once.
    private static func rate(_ path: String, _ bytes: Int) -> Double {
        let client = Client(path)
        let seconds = together({ client.send(bytes) }, { client.receive(bytes) })
        return Double(bytes) / seconds / 1e6
    }

    private static func trip(_ path: String, _ count: Int, _ part: Double) -> Double {
        let client = Client(path)
        return (0..<count).map { _ in
            let start = nanoseconds()
            client.send(64)
            client.receive(64)
            return Double(nanoseconds() - start) / 1000
        }.percentile(part)
    }
}

/// Many channels in one process.
enum ManyBenchmarks {
    static func run(in suite: Suite) throws {
        guard suite.wants("many/") else { return }
        for count in suite.isQuick ? [1, 100] : [1, 100, 1000] {
            let before = residentBytes()
            let world = try World(channels: count)
            defer { world.stop() }
            suite.add(Measurement(name: "many/\(count)/connect all", value: world.connectTime * 1000, unit: "ms"))
            let memory = Double(residentBytes() - before) / Double(count) / 1024
            suite.add(Measurement(name: "many/\(count)/memory a channel, page included", value: memory, unit: "KiB"))
            let idle = processorTime { usleep(500_000) }
            suite.add(
                Measurement(
                    name: "many/\(count)/processor time of an idle second",
                    value: idle * 2000,
                    unit: "ms",
                    goal: "<= 1",
                    met: idle * 2000 <= 1
                )
            )
            measureTraffic(suite, world, count)
        }
    }

    /// All channels busy at once, from one thread that goes round.
    private static func measureTraffic(_ suite: Suite, _ world: World, _ count: Int) {
        let clients = (0..<count).map { Client(world.path($0)) }
        let rounds = max(2, (suite.isQuick ? 2000 : 20_000) / count)
        let size = 1024
        let time = seconds {
            for _ in 0..<rounds {
                for client in clients { client.send(size) }
                for client in clients { client.receive(size) }
            }
        }
        let rate = Double(rounds * size * count) / time / 1e6
        suite.add(Measurement(name: "many/\(count)/total throughput, 1 KiB in turn", value: rate, unit: "MB/s"))
    }

    private static func residentBytes() -> Int {
        let text = (try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8)) ?? ""
        let pages = text.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
        return pages * Int(getpagesize())
    }

    private static func processorTime(_ body: () -> Void) -> Double {
        func now() -> Double {
            var time = timespec()
            unsafe clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
            return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
        }
        let start = now()
        body()
        return now() - start
    }
}

/// A client on a Unix socket that blocks.
final class Client: Sendable {
    private let descriptor: Int32

    init(_ path: String) {
        descriptor = UnixSocket.connect(path)
    }

    deinit {
        close(descriptor)
    }

    func send(_ count: Int) {
        let bytes = [UInt8](repeating: 7, count: min(count, 65_536))
        var left = count
        while left > 0 {
            let sent = unsafe write(descriptor, bytes, min(bytes.count, left))
            precondition(sent > 0, "the server takes bytes")
            left -= sent
        }
    }

    func receive(_ count: Int) {
        var bytes = [UInt8](repeating: 0, count: min(count, 65_536))
        var left = count
        while left > 0 {
            let got = unsafe read(descriptor, &bytes, min(bytes.count, left))
            precondition(got > 0 && bytes[0] == 7, "the server gives the bytes back")
            left -= got
        }
    }
}

/// The plainest echo there is: one client, `read` and `write`.
final class EchoServer: Sendable {
    let path: String
    private let listener: Int32

    init() throws {
        path = FileManager.default.temporaryDirectory.appending(path: "echo-\(UUID().uuidString.prefix(8))").path()
        listener = UnixSocket.listen(path)
        let listener = listener
        Thread {
            var bytes = [UInt8](repeating: 0, count: 65_536)
            while true {
                let client = accept(listener, nil, nil)
                guard client >= 0 else { return }
                while true {
                    let count = unsafe read(client, &bytes, bytes.count)
                    guard count > 0 else { break }
                    var done = 0
                    while done < count {
                        let sent = unsafe bytes[done..<count].withUnsafeBytes { bytes in
                            unsafe write(client, bytes.baseAddress, bytes.count)
                        }
                        guard sent > 0 else { break }
                        done += sent
                    }
                }
                close(client)
            }
        }.start()
    }

    func stop() {
        shutdown(listener, Int32(SHUT_RDWR))
        close(listener)
        unsafe unlink(path)
    }
}

/// Sockets by path, or the end of the program.
enum UnixSocket {
    static func connect(_ path: String) -> Int32 {
        let descriptor = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        unsafe precondition(withAddress(path) { unsafe Glibc.connect(descriptor, $0, $1) } == 0, "connect \(path)")
        return descriptor
    }

    static func listen(_ path: String) -> Int32 {
        let descriptor = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        unsafe precondition(withAddress(path) { unsafe bind(descriptor, $0, $1) } == 0, "bind \(path)")
        precondition(Glibc.listen(descriptor, 16) == 0, "listen \(path)")
        return descriptor
    }

    private static func withAddress(_ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: path.utf8.prefix(100)) }
        return unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
    }
}
