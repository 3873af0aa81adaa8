// SPDX-License-Identifier: MIT

import Glibc
import Testing
import XenRing

@testable import XenChannelIO

@Suite(.longest)
struct TerminalTests {
    @Test func `bytes wait while nobody reads, at no cost, and reach the first reader raw`() throws {
        let bench = try Bench()
        let endpoint = try terminal(bench)
        let lines: [UInt8] = [10, 13, 3, 4, 26, 0, 255, 127, 17, 19] + pattern(990)
        try bench.write(lines)
        endpoint.user.run()
        #expect(endpoint.user.backlogCount == 1000)
        #expect(bench.reactor.turns() < 5)
        let reader = try Far(opening: try #require(endpoint.tty))
        bench.reactor.turn(until: "the reader has them") { reader.receive().count >= 1000 }
        #expect(reader.received == lines)
        endpoint.close()
    }

    @Test func `every byte passes in both directions as it is`() throws {
        let bench = try Bench()
        let endpoint = try terminal(bench)
        let reader = try Far(opening: try #require(endpoint.tty))
        let sent = (0...255).map { UInt8($0) } + pattern(20_000)
        var done = 0
        var taken: [UInt8] = []
        bench.reactor.turn(until: "the guest has all") {
            done += reader.send([UInt8](sent[done..<min(sent.count, done + 1000)]))
            taken += (try? bench.read()) ?? []
            return taken.count >= sent.count
        }
        #expect(taken == sent)
        // Nothing was echoed.
        #expect(reader.receive().isEmpty)
        var written = 0
        bench.reactor.turn(until: "the reader has all") {
            written += (try? bench.write([UInt8](sent[written..<min(sent.count, written + 1500)]))) ?? 0
            endpoint.user.run()
            return reader.receive().count >= sent.count
        }
        #expect(reader.received == sent)
        endpoint.close()
    }

    @Test func `the next reader finds raw mode, whatever the last one left`() throws {
        let bench = try Bench()
        let endpoint = try terminal(bench)
        let path = try #require(endpoint.tty)
        for round in 0..<3 {
            let reader = try Far(opening: path)
            bench.reactor.turn(until: "it is seen") { isServed(endpoint) }
            #expect(settings(reader).c_lflag & tcflag_t(ECHO | ICANON | ISIG) == 0)
            #expect(settings(reader).c_oflag & tcflag_t(OPOST) == 0)
            makeCooked(reader)
            #expect(settings(reader).c_lflag & tcflag_t(ECHO | ICANON) != 0)
            reader.leave()
            bench.reactor.turn(until: "it is missed") { !isServed(endpoint) }
            #expect(bench.reactor.turns() < 5)
            let bytes: [UInt8] = [10, 10, UInt8(round)]
            try bench.write(bytes)
            endpoint.user.run()
            let next = try Far(opening: path)
            bench.reactor.turn(until: "the bytes arrive") { next.receive().count >= 3 }
            #expect(next.received == bytes)
            next.leave()
            bench.reactor.turn(until: "it is missed") { !isServed(endpoint) }
        }
        endpoint.close()
    }

    @Test func `a reader that leaves with its bytes still waiting does not make the next one deaf`() throws {
        let bench = try Bench()
        let endpoint = try terminal(bench)
        let path = try #require(endpoint.tty)
        let first = try Far(opening: path)
        bench.reactor.turn(until: "it is seen") { isServed(endpoint) }
        let sent = first.send(pattern(3000))
        #expect(sent > 1024)
        bench.reactor.turn(until: "the ring is full") { bench[word: 3076] == 1024 }
        first.leave()
        bench.reactor.settle()
        #expect(bench.reactor.turns() < 20)
        let second = try Far(opening: path)
        bench.reactor.settle()
        try bench.write(pattern(500))
        endpoint.user.run()
        bench.reactor.turn(until: "the second reader hears the guest") { second.receive().count == 500 }
        var taken: [UInt8] = []
        bench.reactor.turn(until: "the guest has the first reader's bytes") {
            taken += (try? bench.read()) ?? []
            return taken.count == sent
        }
        #expect(taken == [UInt8](pattern(3000)[..<sent]))
        second.send([1, 2, 3])
        bench.reactor.turn(until: "and the second's") {
            taken += (try? bench.read()) ?? []
            return taken.count == sent + 3
        }
        endpoint.close()
    }

    @Test func `readers before there is a guest come and go`() throws {
        let bench = try Bench()
        let endpoint = try TerminalEndpoint(on: bench.reactor, watcher: OpenWatcher(on: bench.reactor))
        let path = try #require(endpoint.tty)
        let first = try Far(opening: path)
        bench.reactor.settle()
        first.leave()
        #expect(bench.reactor.turns() < 10)
        let second = try Far(opening: path)
        bench.reactor.settle()
        endpoint.user.attach(try bench.ring(), limit: 65_536)
        try bench.write(pattern(100))
        endpoint.user.run()
        bench.reactor.turn(until: "the second is served") { second.receive().count == 100 }
        #expect(bench.reactor.turns() < 10)
        endpoint.close()
    }

    @Test func `a watcher serves many terminals, and forgets those that close`() throws {
        let bench = try Bench()
        let watcher = try OpenWatcher(on: bench.reactor)
        let pages = try (0..<20).map { _ in try Bench() }
        let terminals = try pages.map { page in
            let terminal = try TerminalEndpoint(on: bench.reactor, watcher: watcher)
            terminal.user.attach(try page.ring(), limit: 65_536)
            return terminal
        }
        let readers = try terminals.map { try Far(opening: try #require($0.tty)) }
        bench.reactor.turn(until: "all are seen") { terminals.allSatisfy(isServed) }
        terminals[..<10].forEach { $0.close() }
        #expect(bench.reactor.turns() < 5)
        #expect(terminals[10...].allSatisfy(isServed))
        readers.forEach { $0.leave() }
        bench.reactor.turn(until: "all are missed") { !terminals.contains(where: isServed) }
        terminals[10...].forEach { $0.close() }
    }

    private func terminal(_ bench: Bench) throws -> TerminalEndpoint {
        let endpoint = try TerminalEndpoint(on: bench.reactor, watcher: OpenWatcher(on: bench.reactor))
        endpoint.user.attach(try bench.ring(), limit: 65_536)
        return endpoint
    }

    private func isServed(_ endpoint: TerminalEndpoint) -> Bool {
        (endpoint.user as? StreamPump)?.outlet != nil
    }
}

private func settings(_ reader: Far) -> termios {
    var settings = termios()
    if let descriptor = reader.descriptor { _ = unsafe tcgetattr(descriptor.raw, &settings) }
    return settings
}

private func makeCooked(_ reader: Far) {
    var cooked = settings(reader)
    cooked.c_lflag |= tcflag_t(ECHO | ICANON | ISIG)
    cooked.c_oflag |= tcflag_t(OPOST | ONLCR)
    cooked.c_iflag |= tcflag_t(ICRNL | IXON)
    if let descriptor = reader.descriptor { _ = unsafe tcsetattr(descriptor.raw, TCSANOW, &cooked) }
}
