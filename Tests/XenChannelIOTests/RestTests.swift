// SPDX-License-Identifier: MIT

import Foundation
import Glibc
import TestSupport
import Testing
import XenExploration

@testable import XenChannelIO

/// What costs nothing while nothing happens, and what is left of those who are gone.
@Suite(.longest)
struct RestTests {
    @Test func `a world at rest makes no turn, whatever its channels end at`() throws {
        let sockets = (0..<30).map { "connection=socket,path=%/\($0).sock,name=s\($0)" }
        let terminals = (0..<10).map { "connection=pty,name=t\($0)" }
        let world = try TestWorld(
            channels: sockets + terminals,
            agents: { name in
                switch name {
                case "s0": .program("exec cat")
                case "s1", "t1": .terminal
                case "s2": .discard
                default: .echo
                }
            },
            onTwoThreads: true
        )
        // Some were used, and one client stays.
        let client = try world.connect("3.sock")
        let reader = try Far(opening: try #require(try world.channels.last?.tty))
        for other in ["0.sock", "2.sock", "4.sock"] { try world.connect(other).send(pattern(5000)) }
        try client.send(pattern(3000))
        #expect(try client.receive(3000) == pattern(3000))
        reader.send([65])
        try world.wait("the terminal answers") { !reader.receive().isEmpty }
        let loops = [world.loop, world.guestLoop]
        // What was begun ends in a few turns.
        try world.wait("it rests") {
            let before = loops.map(\.turnsSeen)
            usleep(50_000)
            return before == loops.map(\.turnsSeen)
        }
        let before = loops.map(\.turnsSeen)
        usleep(300_000)
        #expect(loops.map(\.turnsSeen) == before)
        try world.stop()
    }

    @Test func `daemons that are gone leave no work and no timer in their loop`() throws {
        let reactor = try Reactor()
        let host = LiveHost()
        let domain = try host.createDomain()
        do {
            let backend = BackendDaemon(of: host.controlDomain, on: reactor)
            let guest = GuestDaemon(of: domain, on: reactor) { _ in .echo }
            backend.start()
            guest.start()
            reactor.settle()
            #expect(reactor.workCount == 2)
        }
        reactor.settle()
        #expect(reactor.workCount == 0)
    }

    @Test func `work can be cancelled while it is being done, by itself and by others`() throws {
        let reactor = try Reactor()
        var calls: [Int] = []
        var works: [Reactor.Work] = []
        for number in 0..<4 {
            works.append(
                reactor.addWork {
                    calls.append(number)
                    if number == 1 { works[1...2].forEach { $0.cancel() } }
                    return false
                }
            )
        }
        reactor.settle()
        #expect(calls.prefix(5) == [0, 1, 3, 0, 3])
        #expect(reactor.workCount == 2)
    }

    @Test func `timers of one time fire in the order in which they were started`() {
        var queue = TimerQueue()
        var fired: [Int] = []
        let timers = (0..<4).map { number in TimerQueue.Entry { fired.append(number) } }
        for number in [2, 0, 3, 1] { queue.start(timers[number], at: 7) }
        while let action = queue.takeDue(at: 7) { action() }
        #expect(fired == [2, 0, 3, 1])
    }

    @Test func `timers fire when they were last told to, each once, as a list that is searched says`() {
        checkProperty(cases: 200) { choices in
            var queue = TimerQueue()
            var fired: [Int] = []
            let timers = (0..<5).map { number in TimerQueue.Entry { fired.append(number) } }
            var deadlines = [UInt64?](repeating: nil, count: timers.count)
            var now: UInt64 = 0
            for _ in 0..<choices.choose(below: 40) {
                let number = choices.choose(below: timers.count)
                switch choices.choose(below: 4) {
                case 0:
                    timers[number].cancel()
                    deadlines[number] = nil
                case 1, 2:
                    let deadline = now + UInt64(choices.choose(below: 20))
                    queue.start(timers[number], at: deadline)
                    deadlines[number] = deadline
                default:
                    now += UInt64(choices.choose(below: 10))
                    fired = []
                    try requireEqual(queue.next(), deadlines.compactMap(\.self).min(), "the next deadline")
                    while let action = queue.takeDue(at: now) { action() }
                    let due = deadlines.indices.filter { deadlines[$0].map { $0 <= now } ?? false }
                    try requireEqual(fired.sorted(), due, "what fired")
                    try require(
                        zip(fired, fired.dropFirst()).allSatisfy { deadlines[$0] ?? 0 <= deadlines[$1] ?? 0 },
                        "out of order"
                    )
                    for number in due { deadlines[number] = nil }
                }
                try requireEqual(timers.map(\.isRunning), deadlines.map { $0 != nil }, "what is on")
            }
        }
    }
}
