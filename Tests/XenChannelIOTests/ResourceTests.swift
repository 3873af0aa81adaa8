// SPDX-License-Identifier: MIT

import Foundation
import Glibc
import Testing
import XenInterface
import XenStore

@testable import XenChannelIO

/// What a process has, in processes of their own, since other tests open and close descriptors meanwhile.
@Suite(.longest)
struct ResourceTests {
    @Test func `worlds that come and go leave no descriptors, threads, processes or files`() async {
        await #expect(processExitsWith: .success) {
            let before = try worldComesAndGoes()
            let threadsBefore = try threads()
            for _ in 0..<3 {
                let after = try worldComesAndGoes()
                #expect(after == before)
            }
            // A thread that has said that it ends may still be there for a moment, and the tests' own are not counted exactly.
            let deadline = Date(timeIntervalSinceNow: 10)
            while try threads() > threadsBefore + 2, Date() < deadline { usleep(1000) }
            #expect(try threads() <= threadsBefore + 2)
        }
    }

    @Test func `without descriptors a client waits, which is told once, nothing spins, and it is served later`() async {
        await #expect(processExitsWith: .success) {
            let folder = try Folder()
            let bench = try Bench()
            let told = Told()
            let endpoint = try SocketEndpoint(path: folder("a"), on: bench.reactor) { told.errors.append($0) }
            let socket = try StoreSocket(path: folder("s"), of: LiveHost(), on: bench.reactor)
            socket.onReport = { told.errors.append($0) }
            endpoint.user.attach(try bench.ring(), limit: 65_536)
            let client = try Far(connectingTo: folder("a"))
            let other = try Far(connectingTo: folder("s"))
            client.send([1, 2, 3])
            try withoutDescriptors { () throws in
                #expect(bench.reactor.turns(within: .milliseconds(250)) < 30)
                #expect(try bench.read().isEmpty)
                #expect(told.errors.map(\.subject).sorted() == [folder("a"), folder("s")])
                #expect(told.errors.allSatisfy { $0.code == EMFILE })
            }
            var taken: [UInt8] = []
            bench.reactor.turn(until: "it is served") {
                taken += (try? bench.read()) ?? []
                return taken == [1, 2, 3]
            }
            other.send(StoreRequest.read(.root).message(request: 1, in: .none).encoded)
            bench.reactor.turn(until: "the other as well") { !other.receive().isEmpty }
            endpoint.close()
            socket.close()
        }
    }

    @Test func `without descriptors nobody is turned away where nobody waits`() async {
        await #expect(processExitsWith: .success) {
            let folder = try Folder()
            let listener = try UnixListener(path: folder("s"))
            try withoutDescriptors { () throws in
                guard case .nobody = listener.accept() else { exit(1) }
            }
            let client = try UnixListener.connect(to: folder("s"))
            try withoutDescriptors { () throws in
                guard case .noRoom(let error) = listener.accept(), error.code == EMFILE else { exit(2) }
            }
            guard case .client = listener.accept() else { exit(3) }
            withExtendedLifetime(client) {}
        }
    }

    @Test func `a service that cannot be started for want of descriptors is started later`() async {
        await #expect(processExitsWith: .success) {
            let bench = try Bench()
            let told = Told()
            var endpoint: ProgramEndpoint?
            try withoutDescriptors { () throws in
                endpoint = try ProgramEndpoint(
                    command: "exec cat",
                    on: bench.reactor,
                    onEnd: { told.hasEnded = true },
                    onGone: { told.isGone = true },
                    onRestart: { told.lines.append($0) }
                )
            }
            #expect(told.lines.count == 1 && told.lines[0].contains("Too many open files"))
            endpoint?.user.attach(try bench.ring(), limit: 65_536)
            try bench.write([1, 2, 3])
            var taken: [UInt8] = []
            bench.reactor.turn(until: "it runs") {
                taken += (try? bench.read()) ?? []
                return taken == [1, 2, 3]
            }
            #expect(!told.hasEnded)
            endpoint?.user.detachRing()
            endpoint?.close()
            bench.reactor.turn(until: "it is gone") { told.isGone }
        }
    }

    @Test func `a store that goes away does not end its clients' process`() async {
        await #expect(processExitsWith: .success) {
            let folder = try Folder()
            let listener = try UnixListener(path: folder("s"))
            let connection = try StoreSocketConnection(path: folder("s"))
            guard case .client = listener.accept() else { exit(1) }
            // The server's end is closed: the next write would raise a signal.
            #expect(connection.perform(.read(.root)) == .failure(.inputOutput))
            #expect(connection.perform(.read(.root)) == .failure(.inputOutput))
        }
    }

    @Test func `a client or program that goes away does not end the world's process`() async {
        await #expect(processExitsWith: .success) {
            let world = try TestWorld(
                channels: [
                    "connection=socket,path=%/a.sock,name=a", "connection=socket,path=%/b.sock,name=b",
                ],
                agents: { $0 == "a" ? .program("exec yes") : .program("exec <&-; sleep 1000") }
            )
            for _ in 0..<20 {
                let client = try world.connect("a.sock")
                #expect(try client.receive(2) == [UInt8]("y\n".utf8))
            }
            let client = try world.connect("b.sock")
            for _ in 0..<100 { try client.send(pattern(10)) }
            try world.stop()
        }
    }

    @Test func `a program that starts does not hold a client's connection`() async {
        await #expect(processExitsWith: .success) {
            // Who runs the tests has descriptors of its own in every child.
            let foreign = try descriptorNames()
            let channels = ["connection=socket,path=%/a.sock,name=a", "connection=socket,path=%/b.sock,name=b"]
            let world = try TestWorld(
                channels: [channels[0]],
                agents: { $0 == "a" ? .echo : .program("ls -l /proc/self/fd | grep -o 'socket:.*'; echo end; cat") },
                onTwoThreads: true
            )
            let first = try world.connect("a.sock")
            try first.send([7])
            #expect(try first.receive(1) == [7])
            let late = try #require(TestWorld.configurations(channels, in: world.folder).last)
            let guest = world.domain
            try world.onToolstack { try $0.attach(late, to: guest) }
            try world.wait("the program has started") { try world.connectedCount == 2 }
            let second = try world.connect("b.sock")
            var text = ""
            while !text.hasSuffix("end\n") { text += String(decoding: try second.receive(1), as: UTF8.self) }
            let inherited = text.split(separator: "\n").dropLast().map(String.init)
            #expect(inherited.filter { !foreign.contains($0) } == [])
            try world.stop()
        }
    }
}

/// How much of it this process has.
private struct Possessions: Equatable {
    let descriptors: [String]
    let children: String
}

/// Lets a world with everything in it live and end, and looks at what is left of it.
private func worldComesAndGoes() throws -> Possessions {
    var path = ""
    do {
        let world = try TestWorld(
            channels: [
                "connection=socket,path=%/a.sock,name=a", "connection=pty,name=b",
                "connection=socket,path=%/c.sock,name=c", "connection=socket,path=%/d.sock,name=d",
            ],
            agents: { name in
                switch name {
                case "a": .echo
                case "b": .terminal
                case "c": .program("cat")
                default: .discard
                }
            },
            onTwoThreads: true
        )
        path = world.folder.path
        let store = try world.loop.sync { [loop = world.loop, host = world.host, folder = world.folder] in
            try StoreSocket(path: folder("store"), of: host, on: loop.reactor)
        }
        let connection = try StoreSocketConnection(path: store.path)
        #expect(connection.perform(.watch(.root, token: "t")) == .done)
        for name in ["a.sock", "c.sock"] {
            let client = try world.connect(name)
            try client.send(pattern(10_000))
            #expect(try client.receive(10_000) == pattern(10_000))
        }
        let reader = try Far(opening: try #require(try world.channels.first { $0.tty != nil }?.tty))
        let agent = try Far(opening: try #require(try world.agents.first { $0.tty != nil }?.tty))
        try world.wait("the line passed") {
            if agent.received.isEmpty { reader.send([65]) }
            return !agent.receive().isEmpty
        }
        try world.connect("d.sock").send(pattern(1000))
        try world.loop.sync { store.close() }
        try world.stop()
    }
    #expect(!exists(path))
    // What a descriptor of this kind is called, without its number.
    let kinds = try descriptorNames().map { String($0.prefix { $0 != "[" }) }.sorted()
    let children = try String(contentsOf: URL(filePath: "/proc/self/task/\(getpid())/children"), encoding: .utf8)
    return Possessions(descriptors: kinds, children: children)
}

private func threads() throws -> Int {
    try FileManager.default.contentsOfDirectory(atPath: "/proc/self/task").count
}

/// What the open descriptors refer to.
private func descriptorNames() throws -> [String] {
    let folder = "/proc/self/fd"
    return try FileManager.default.contentsOfDirectory(atPath: folder).compactMap { name in
        // The one that lists is gone by now.
        try? FileManager.default.destinationOfSymbolicLink(atPath: "\(folder)/\(name)")
    }
}

/// What somebody was told.
private final class Told {
    var errors: [SystemError] = []
    var lines: [String] = []
    var hasEnded = false
    var isGone = false
}

/// Runs `body` while this process can open nothing.
private func withoutDescriptors(_ body: () throws -> Void) rethrows {
    var limit = rlimit()
    _ = unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    // Well above what this process may have inherited from tests that run beside it.
    limit.rlim_cur = 1000
    _ = unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    var fillers: [Int32] = []
    while case let filler = dup(0), filler >= 0 { fillers.append(filler) }
    defer { fillers.forEach { close($0) } }
    try body()
}
