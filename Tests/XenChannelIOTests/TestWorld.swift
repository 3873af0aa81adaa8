// SPDX-License-Identifier: MIT

import Foundation
import Glibc
import Testing
import XenBus
import XenChannels
import XenHypervisor
import XenInterface

@testable import XenChannelIO

/// A loop on a thread of its own, which runs what it is given.
final class Loop: @unchecked Sendable {
    let reactor: Reactor
    private let condition = NSCondition()
    private var requests: [() -> Void] = []
    private var isRunning = true

    init() throws {
        reactor = try Reactor()
        reactor.addWork { [unowned self] in
            let taken = condition.withLock {
                defer { requests = [] }
                return requests
            }
            taken.forEach { $0() }
            return !taken.isEmpty
        }
        Thread { [self] in
            reactor.run()
            condition.withLock {
                isRunning = false
                condition.broadcast()
            }
        }.start()
    }

    /// How many turns the loop has made, as far as another thread can tell.
    var turnsSeen: UInt64 { reactor.turnCount }

    /// Runs `body` in the loop and returns its result.
    func sync<Result>(_ body: @escaping () throws -> Result) throws -> Result {
        var result: Swift.Result<Result, any Error>?
        condition.lock()
        requests.append { [self] in
            let made = Swift.Result(catching: body)
            condition.withLock {
                result = made
                condition.broadcast()
            }
        }
        condition.unlock()
        reactor.waker.wake()
        try wait { result != nil }
        guard let result else { throw SystemError("loop", "", detail: "no result") }
        return try result.get()
    }

    func stop() throws {
        try sync { [reactor] in reactor.stop() }
        try wait { !self.isRunning }
    }

    private func wait(until isDone: () -> Bool) throws {
        let deadline = Date(timeIntervalSinceNow: 20)
        condition.lock()
        defer { condition.unlock() }
        while !isDone() {
            guard condition.wait(until: deadline) else {
                throw SystemError("loop", "", detail: "did not answer in time")
            }
        }
    }
}

/// A live world on one or two threads of its own, with a folder for its sockets that goes with it.
final class TestWorld: @unchecked Sendable {
    let folder: Folder
    let host = LiveHost()
    /// Runs the backend and the toolstack.
    let loop: Loop
    /// Runs the guest; the same loop, or another.
    let guestLoop: Loop
    private let backend: BackendDaemon
    private let toolstack: LiveToolstack
    private let guest: GuestDaemon
    let domain: DomainID
    private let log = Log()

    /// What was reported, by both sides.
    private final class Log: @unchecked Sendable {
        private let lock = NSLock()
        private var lines: [String] = []

        func append(_ line: String) { lock.withLock { lines.append(line) } }
        var all: [String] { lock.withLock { lines } }
    }

    /// Runs a guest with these channels; `%` in a specification stands for the folder. Returns when all are connected, unless told not to
    /// start a side.
    init(
        channels: [String],
        agents: @escaping @Sendable (String?) -> AgentKind = { _ in .echo },
        console: Bool = false,
        onTwoThreads: Bool = false,
        startsBackend: Bool = true,
        startsGuest: Bool = true
    ) throws {
        let folder = try Folder()
        self.folder = folder
        let loop = try Loop()
        self.loop = loop
        let guestLoop = onTwoThreads ? try Loop() : loop
        self.guestLoop = guestLoop
        let configurations = try TestWorld.configurations(channels, in: folder)
        let host = host
        let log = log
        (backend, toolstack) = try loop.sync {
            let backend = BackendDaemon(of: host.controlDomain, on: loop.reactor, servesPrimaryConsoles: console)
            backend.onReport = { log.append($0.description) }
            return (backend, LiveToolstack(on: host))
        }
        let toolstack = toolstack
        let guestDomain = try loop.sync {
            try toolstack.createGuest(name: "guest", uuid: UUID().uuidString, console: console) { _ in configurations }
        }
        domain = guestDomain.id
        guest = try guestLoop.sync {
            let guest = GuestDaemon(of: guestDomain, on: guestLoop.reactor, agents: agents)
            guest.onReport = { log.append($0.description) }
            return guest
        }
        if startsBackend { try onBackend { $0.start() } }
        if startsGuest { try onGuest { $0.start() } }
        if startsBackend, startsGuest {
            try wait("channels connected") { try connectedCount == channels.count + (console ? 1 : 0) }
        }
    }

    static func configurations(_ channels: [String], in folder: Folder) throws -> [ChannelConfiguration] {
        try ChannelConfiguration.list(
            channels.map { try ChannelSpecification($0.replacingOccurrences(of: "%", with: folder.path)) }
        )
    }

    func onBackend<Result>(_ body: @escaping (BackendDaemon) throws -> Result) throws -> Result {
        try loop.sync { [backend] in try body(backend) }
    }

    func onGuest<Result>(_ body: @escaping (GuestDaemon) throws -> Result) throws -> Result {
        try guestLoop.sync { [guest] in try body(guest) }
    }

    func onToolstack<Result>(_ body: @escaping (LiveToolstack) throws -> Result) throws -> Result {
        try loop.sync { [toolstack] in try body(toolstack) }
    }

    /// Waits until the condition holds.
    func wait(_ what: String, until condition: () throws -> Bool) throws {
        let deadline = Date(timeIntervalSinceNow: 20)
        while try !condition() {
            guard Date() < deadline else {
                throw SystemError("wait", what, detail: "in vain; \(try channels) \(reports)")
            }
            usleep(1000)
        }
    }

    var channels: [ChannelStatus] { get throws { try onBackend { $0.channels } } }
    var agents: [AgentStatus] { get throws { try onGuest { $0.channels } } }
    var reports: [String] { log.all }

    /// Channels of which both sides are connected.
    var connectedCount: Int {
        get throws { min(try channels.count { $0.isConnected }, try agents.count { $0.isConnected }) }
    }

    func store(_ path: String) throws -> String? {
        let path = try #require(StorePath(path))
        let reply = try loop.sync { [host] in LiveStoreConnection(as: .dom0, to: host).perform(.read(path)) }
        if case .value(let value) = reply { return value.text }
        return nil
    }

    /// Closes both sides through the protocol, and returns what was never taken.
    @discardableResult
    func stop() throws -> [ChannelStatus] {
        var isGuestClosed = false
        var isBackendClosed = false
        try onGuest { $0.close { isGuestClosed = true } }
        try wait("the guest's end") { try onGuest { _ in isGuestClosed } }
        try onBackend { $0.close { isBackendClosed = true } }
        try wait("the backend's end") { try onBackend { _ in isBackendClosed } }
        let leftovers = try onBackend { $0.leftovers }
        if guestLoop !== loop { try guestLoop.stop() }
        try loop.stop()
        return leftovers
    }

    func connect(_ name: String) throws -> TestClient {
        try TestClient(UnixListener.connect(to: folder(name)))
    }
}

/// The far end of a socket or terminal, with calls that block.
final class TestClient: @unchecked Sendable {
    private let descriptor: Descriptor

    init(_ descriptor: Descriptor) {
        self.descriptor = descriptor
        _ = fcntl(descriptor.raw, F_SETFL, 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            var timeout = timeval(tv_sec: 20, tv_usec: 0)
            _ = unsafe setsockopt(
                descriptor.raw,
                SOL_SOCKET,
                option,
                &timeout,
                socklen_t(MemoryLayout<timeval>.size)
            )
        }
    }

    func send(_ bytes: [UInt8]) throws {
        var done = 0
        while done < bytes.count {
            switch descriptor.send(bytes.span.extracting(done...)) {
            case .moved(let count): done += count
            case .wait: throw SystemError("write", "client", detail: "no more than \(done) bytes in time")
            case .gone(let code): throw SystemError("write", "client", code: code)
            case .end: return
            }
        }
    }

    /// Reads exactly `count` bytes, or fewer if the stream ends.
    func receive(_ count: Int) throws -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < count {
            var transfer = Descriptor.Transfer.wait
            bytes.append(addingCapacity: min(65_536, count - bytes.count)) {
                transfer = descriptor.read(appendingTo: &$0)
            }
            switch transfer {
            case .moved: continue
            case .end: return bytes
            case .wait: throw SystemError("read", "client", detail: "no more than \(bytes.count) bytes in time")
            case .gone(let code): throw SystemError("read", "client", code: code)
            }
        }
        return bytes
    }

    func endWriting() {
        shutdown(descriptor.raw, Int32(SHUT_WR))
    }
}
