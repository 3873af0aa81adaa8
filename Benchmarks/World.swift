// SPDX-License-Identifier: MIT

import Foundation
import XenBus
import XenChannelIO
import XenChannels
import XenInterface

/// A live world with echo agents, for as long as a measurement takes.
final class World: @unchecked Sendable {
    let folder: String
    private let host = LiveHost()
    private let stops: [StopRequest]
    private let ended = DispatchSemaphore(value: 0)
    private var threads = 0
    private let connected = DispatchSemaphore(value: 0)
    /// Seconds from the toolstack's first request to the last channel's connection.
    private(set) var connectTime = 0.0
    private let lock = NSLock()
    private var connectedCount = 0

    /// What stands outside.
    enum Kind {
        case socket
        case terminal
    }

    private let kind: Kind
    /// The devices of terminals, as the backend said them.
    private var terminals: [String] = []
    private var totals = ChannelStatistics()

    /// Makes a guest with `count` channels; the guest runs in the backend's thread or in one of its own.
    init(channels count: Int, kind: Kind = .socket, onTwoThreads: Bool = false) throws {
        self.kind = kind
        folder = Scratch.path("world")
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
        let reactors = try (0..<(onTwoThreads ? 2 : 1)).map { _ in try Reactor() }
        stops = reactors.map { StopRequest(to: $0.waker) }
        let start = nanoseconds()
        // A guest may have 128 watches (D41), of which each channel needs one.
        let guests = max(1, count / 100)
        let backend = BackendDaemon(of: host.controlDomain, on: reactors[0])
        let toolstack = LiveToolstack(on: host)
        var daemons: [GuestDaemon] = []
        for guest in 0..<guests {
            let specifications = try (0..<(count / guests)).map {
                let socket = "connection=socket,path=\(folder)/\(guest * (count / guests) + $0)"
                return try ChannelSpecification("\(kind == .socket ? socket : "connection=pty"),name=c\($0)")
            }
            let channels = try ChannelConfiguration.list(specifications)
            let domain = try toolstack.createGuest(name: "g\(guest)", uuid: UUID().uuidString) { _ in channels }
            daemons.append(GuestDaemon(of: domain, on: reactors[reactors.count - 1]) { _ in .echo })
        }
        let total = guests * (count / guests)
        backend.onChange = { [unowned self] status in
            guard let tty = status.tty, status.isConnected else { return }
            lock.withLock { if !terminals.contains(tty) { terminals.append(tty) } }
        }
        for daemon in daemons {
            daemon.onChange = { [unowned self] status in
                guard status.isConnected else { return }
                let isLast = lock.withLock {
                    connectedCount += 1
                    return connectedCount == total
                }
                if isLast {
                    connectTime = Double(nanoseconds() - start) / 1e9
                    connected.signal()
                }
            }
        }
        for (reactor, stop) in zip(reactors, stops) {
            reactor.addWork { [unowned reactor] in
                if stop.isMade { reactor.stop() }
                return false
            }
        }
        run(reactors, backend, daemons, toolstack)
        connected.wait()
    }

    private func run(
        _ reactors: [Reactor],
        _ backend: BackendDaemon,
        _ guests: [GuestDaemon],
        _ toolstack: LiveToolstack
    ) {
        threads = reactors.count
        // Each thread is handed what belongs to it, and nothing else touches it afterwards.
        nonisolated(unsafe) let loops = reactors
        nonisolated(unsafe) let parts = (backend, guests, toolstack)
        for index in unsafe loops.indices {
            Thread { [self] in
                if index == 0 { unsafe parts.0.start() }
                if unsafe index == loops.count - 1 { unsafe parts.1.forEach { $0.start() } }
                unsafe loops[index].run()
                if index == 0 { unsafe totals = parts.0.channels.first?.statistics ?? totals }
                ended.signal()
            }.start()
        }
    }

    /// Where the client of a channel finds it.
    func path(_ channel: Int) -> String {
        switch kind {
        case .socket: "\(folder)/\(channel)"
        case .terminal: lock.withLock { terminals[channel] }
        }
    }

    /// Ends the threads, which a measurement needs no order for; returns what the backend counted at the first channel.
    @discardableResult
    func stop() -> ChannelStatistics {
        stops.forEach { $0.make() }
        for _ in 0..<threads { ended.wait() }
        try? FileManager.default.removeItem(atPath: folder)
        return totals
    }
}
