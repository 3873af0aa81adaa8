// SPDX-License-Identifier: MIT

import Foundation
import Glibc
import Testing

@testable import XenChannelIO

@Suite(.longest)
struct ListenerTests {
    @Test func `a socket has mode 0600, whatever the mask, or the one asked for`() throws {
        let folder = try Folder()
        let first = try UnixListener(path: folder("a"))
        #expect(mode(folder("a")) == 0o600)
        let second = try UnixListener(path: folder("b"), mode: 0o666)
        #expect(mode(folder("b")) == 0o666)
        withExtendedLifetime((first, second)) {}
    }

    @Test func `a stale socket is replaced`() throws {
        let folder = try Folder()
        let stale = try bindOnly(folder("a"))
        #expect(exists(folder("a")))
        withExtendedLifetime(stale) {}
        try withExtendedLifetime(UnixListener(path: folder("a"))) {
            _ = try UnixListener.connect(to: folder("a"))
        }
        #expect(!exists(folder("a")))
    }

    @Test func `a regular file, a folder, and a symbolic link stay as they are`() throws {
        let folder = try Folder()
        try Data("precious".utf8).write(to: URL(filePath: folder("file")))
        try FileManager.default.createDirectory(atPath: folder("folder"), withIntermediateDirectories: false)
        _ = try bindOnly(folder("stale"))
        for (link, target) in [("toFile", "file"), ("toNothing", "nothing"), ("toStale", "stale")] {
            try FileManager.default.createSymbolicLink(
                atPath: folder(link),
                withDestinationPath: folder(target)
            )
        }
        for name in ["file", "folder", "toFile", "toNothing", "toStale"] {
            let error = #expect(throws: SystemError.self) { try UnixListener(path: folder(name)) }
            #expect(error?.description.contains(folder(name)) == true)
            #expect(exists(folder(name)))
        }
        #expect(try Data(contentsOf: URL(filePath: folder("file"))) == Data("precious".utf8))
        #expect(exists(folder("stale")))
    }

    @Test func `a socket that somebody serves is refused, also when its queue is full`() throws {
        let folder = try Folder()
        let server = try UnixListener(path: folder("a"), backlog: 1)
        var waiting: [Descriptor] = []
        for _ in 0..<10 {
            let error = #expect(throws: SystemError.self) { try UnixListener(path: folder("a")) }
            #expect(error?.description.contains(folder("a")) == true)
            if let client = try? UnixListener.connect(to: folder("a")) { waiting.append(client) }
        }
        #expect(exists(folder("a")))
        guard case .client = server.accept() else {
            Issue.record("the server is as it was")
            return
        }
    }

    @Test func `a path too long, empty, or in no folder is named in the error`() throws {
        let folder = try Folder()
        for path in ["", folder(String(repeating: "x", count: 120)), folder("no/such/socket")] {
            let error = #expect(throws: SystemError.self) { try UnixListener(path: path) }
            #expect(error?.subject == path)
        }
        let room = 107 - folder("").utf8.count
        let longest = folder(String(repeating: "y", count: room))
        try withExtendedLifetime(UnixListener(path: longest)) { #expect(exists(longest)) }
    }

    @Test func `at the end only what was made here is removed`() throws {
        let folder = try Folder()
        do {
            let listener = try UnixListener(path: folder("a"))
            unsafe unlink(folder("a"))
            try Data("somebody's".utf8).write(to: URL(filePath: folder("a")))
            withExtendedLifetime(listener) {}
        }
        #expect(exists(folder("a")))
        var other: Descriptor?
        do {
            let listener = try UnixListener(path: folder("b"))
            unsafe unlink(folder("b"))
            other = try bindOnly(folder("b"))
            withExtendedLifetime(listener) {}
        }
        #expect(exists(folder("b")))
        withExtendedLifetime(other) {}
    }

    @Test func `clients of an endpoint are served one after the other, each in full before the next`() throws {
        let folder = try Folder()
        let bench = try Bench()
        let endpoint = try SocketEndpoint(path: folder("a"), on: bench.reactor)
        endpoint.user.attach(try bench.ring(), limit: 65_536)
        // All of them write and leave before anything is read.
        let clients = try (0..<6).map { number in
            let client = try Far(connectingTo: folder("a"))
            #expect(client.send([UInt8](repeating: UInt8(number), count: 3000 + number)) == 3000 + number)
            client.leave()
            return client
        }
        var taken: [UInt8] = []
        let wanted = clients.indices.flatMap { [UInt8](repeating: UInt8($0), count: 3000 + $0) }
        bench.reactor.turn(until: "all was delivered") {
            taken += (try? bench.read()) ?? []
            return taken.count >= wanted.count
        }
        #expect(taken == wanted)
        endpoint.close()
        #expect(!exists(folder("a")))
    }

    @Test func `a second client waits and hears nothing until the first has left`() throws {
        let folder = try Folder()
        let bench = try Bench()
        let endpoint = try SocketEndpoint(path: folder("a"), on: bench.reactor)
        endpoint.user.attach(try bench.ring(), limit: 65_536)
        let first = try Far(connectingTo: folder("a"))
        let second = try Far(connectingTo: folder("a"))
        second.send([2])
        bench.reactor.settle()
        try bench.write(pattern(10))
        endpoint.user.run()
        bench.reactor.turn(until: "the first hears it") { first.receive().count == 10 }
        #expect(bench.reactor.turns() < 5)
        #expect(second.receive().isEmpty)
        #expect(try bench.read().isEmpty)
        first.leave()
        var taken: [UInt8] = []
        bench.reactor.turn(until: "the second is heard") {
            taken += (try? bench.read()) ?? []
            return taken == [2]
        }
        try bench.write([9])
        endpoint.user.run()
        bench.reactor.turn(until: "and hears") { second.receive() == [9] }
        endpoint.close()
        bench.reactor.settle()
        second.receive()
        #expect(second.isEnded)
    }

    private func mode(_ path: String) -> mode_t {
        var status = stat()
        guard unsafe lstat(path, &status) == 0 else { return 0 }
        return status.st_mode & 0o7777
    }

    /// Makes a socket at a path on which nobody listens.
    private func bindOnly(_ path: String) throws -> Descriptor {
        let descriptor = Descriptor(socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0))
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: path.utf8) }
        let result = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe bind(descriptor.raw, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard result == 0 else { throw SystemError("bind", path) }
        return descriptor
    }
}

/// Whether anything is at a path, a dangling link as well.
func exists(_ path: String) -> Bool {
    var status = stat()
    return unsafe lstat(path, &status) == 0
}
