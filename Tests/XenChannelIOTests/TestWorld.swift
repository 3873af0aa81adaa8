// SPDX-License-Identifier: MIT

import Foundation
import Glibc
import Testing
import XenBus
import XenChannels
import XenInterface

@testable import XenChannelIO

/// A live world on a thread of its own, with a folder for its sockets that goes with it.
final class TestWorld: @unchecked Sendable {
    let folder: String
    let host = LiveHost()
    private let lock = NSCondition()
    private var reactor: Reactor?
    private var backend: BackendDaemon?
    private var guest: GuestDaemon?
    private var toolstack: LiveToolstack?
    private var statuses: [ChannelStatus] = []
    private var isStopped = false
    private(set) var reports: [String] = []
    private(set) var domain = DomainID.dom0

    /// Runs a guest with these channels; `%` in a specification stands for the folder. Returns when all are connected.
    init(
        channels: [String],
        agents: @escaping @Sendable (String?) -> AgentKind = { _ in .echo },
        waits: Bool = true
    ) throws {
        folder = FileManager.default.temporaryDirectory.appending(path: "xenchan-\(UUID().uuidString.prefix(8))").path()
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        let specifications = try channels.map {
            try ChannelSpecification($0.replacingOccurrences(of: "%", with: folder))
        }
        let configurations = try ChannelConfiguration.list(specifications)
        let thread = Thread { [self] in
            do { try serve(configurations, agents: agents) } catch { Issue.record(error) }
            lock.withLock {
                isStopped = true
                lock.broadcast()
            }
        }
        thread.start()
        guard waits else { return }
        wait("channels connected") { $0.statuses.filter(\.isConnected).count == channels.count }
    }

    private func serve(
        _ channels: [ChannelConfiguration],
        agents: @escaping @Sendable (String?) -> AgentKind
    ) throws {
        let reactor = try Reactor()
        let backend = BackendDaemon(of: host.controlDomain, on: reactor)
        backend.onReport = { [unowned self] report in lock.withLock { reports.append(report.description) } }
        backend.onChange = { [unowned self, unowned backend] _ in
            lock.withLock {
                statuses = backend.channels
                lock.broadcast()
            }
        }
        backend.start()
        let toolstack = LiveToolstack(on: host)
        let domain = try toolstack.createGuest(name: "guest", uuid: UUID().uuidString) { _ in channels }
        let guest = GuestDaemon(of: domain, on: reactor, agents: agents)
        guest.start()
        lock.withLock {
            self.reactor = reactor
            self.backend = backend
            self.guest = guest
            self.toolstack = toolstack
            self.domain = domain.id
        }
        reactor.addWork { [unowned self] in runRequests() }
        reactor.run()
    }

    private var requests: [() -> Void] = []

    private func runRequests() -> Bool {
        let taken = lock.withLock {
            defer { requests = [] }
            return requests
        }
        taken.forEach { $0() }
        return !taken.isEmpty
    }

    /// Runs `body` in the world's thread.
    func perform(_ body: @escaping (BackendDaemon, GuestDaemon, LiveToolstack, Reactor) -> Void) {
        wait("world") { $0.toolstack != nil }
        lock.withLock {
            guard let backend, let guest, let toolstack, let reactor else { return }
            requests.append { body(backend, guest, toolstack, reactor) }
            reactor.waker.wake()
        }
    }

    /// Waits until the channels are as wanted.
    func wait(_ what: String, until condition: (TestWorld) -> Bool) {
        let deadline = Date(timeIntervalSinceNow: 20)
        lock.lock()
        defer { lock.unlock() }
        while !condition(self), !isStopped {
            guard lock.wait(until: deadline) else {
                Issue.record("waited in vain for: \(what); \(statuses) \(reports)")
                return
            }
        }
    }

    var channels: [ChannelStatus] { lock.withLock { statuses } }

    /// Closes both sides through the protocol.
    func stop() {
        perform { backend, guest, _, reactor in
            guest.close { backend.close { reactor.stop() } }
        }
        wait("the end") { $0.isStopped }
        try? FileManager.default.removeItem(atPath: folder)
    }

    func connect(_ name: String) throws -> TestClient {
        try TestClient(UnixListener.connect(to: "\(folder)/\(name)"))
    }
}

/// The far end of a socket or terminal, with calls that block.
final class TestClient: @unchecked Sendable {
    private let descriptor: Descriptor

    init(_ descriptor: Descriptor) {
        self.descriptor = descriptor
        _ = fcntl(descriptor.raw, F_SETFL, 0)
        var timeout = timeval(tv_sec: 20, tv_usec: 0)
        _ = unsafe setsockopt(
            descriptor.raw,
            SOL_SOCKET,
            SO_RCVTIMEO,
            &timeout,
            socklen_t(MemoryLayout<timeval>.size)
        )
    }

    func send(_ bytes: [UInt8]) throws {
        var done = 0
        while done < bytes.count {
            switch descriptor.write(bytes.span.extracting(done..<bytes.count)) {
            case .moved(let count): done += count
            case .wait: continue
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
            bytes.append(addingCapacity: count - bytes.count) { transfer = descriptor.read(appendingTo: &$0) }
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
