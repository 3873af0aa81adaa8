// SPDX-License-Identifier: MIT

import Foundation
import XenBus
import XenChannelIO
import XenChannels
import XenHypervisor
import XenInterface

/// The world of `xenchan run`: a host, a guest, and what is said of them.
final class RunWorld {
    private let host = LiveHost()
    private let reactor: Reactor
    private let backend: BackendDaemon
    private let guest: GuestDaemon
    private let toolstack: LiveToolstack
    private let channels: [ChannelConfiguration]
    private let isJSON: Bool
    private var store: StoreSocket?
    /// The channels of which both sides are connected, and what was said of them.
    private var announced: [DeviceID: ChannelLine] = [:]
    /// Something was connected, and may be again: from then on the world ends only when it is told to.
    private var hasBegun = false
    private var hasFailed = false
    private var isStopping = false
    private let stopRequest: StopRequest

    init(
        channels: [ChannelConfiguration],
        agents: [String: AgentKind],
        console: AgentKind?,
        services: [String: ChannelService],
        storePath: String?,
        isJSON: Bool
    ) throws {
        let reactor = try Reactor()
        self.reactor = reactor
        self.channels = channels
        self.isJSON = isJSON
        stopRequest = StopRequest(to: reactor.waker)
        stopRequest.makeAtSignals()
        backend = BackendDaemon(of: host.controlDomain, on: reactor, servesPrimaryConsoles: true) { name in
            name.flatMap { services[$0] } ?? ChannelService()
        }
        toolstack = LiveToolstack(on: host)
        let uuid = UUID().uuidString.lowercased()
        let domain = try toolstack.createGuest(name: "guest", uuid: uuid, console: console != nil) { _ in channels }
        guest = GuestDaemon(of: domain, on: reactor) { name in
            // Every channel here has a name.
            guard let name else { return console ?? .echo }
            return agents[name] ?? .echo
        }
        store = try RunWorld.publish(host, at: storePath, on: reactor)
        connect()
    }

    /// Serves until it is stopped; returns the exit code.
    func run() -> Int32 {
        guest.start()
        backend.start()
        reactor.run()
        store?.close()
        return report()
    }

    /// Publishes the store where it was asked for, or where `xenchan list` looks, if no other world is there.
    private static func publish(_ host: LiveHost, at path: String?, on reactor: Reactor) throws -> StoreSocket? {
        if let path { return try StoreSocket(path: path, of: host, on: reactor) }
        do {
            try DefaultStore.prepare()
            return try StoreSocket(path: DefaultStore.path, of: host, on: reactor)
        } catch {
            Console.error("xenchan: 'xenchan list' will not find this world without --store: \(error)")
            return nil
        }
    }

    private func connect() {
        backend.onReport = { [unowned self] in complain($0) }
        guest.onReport = { [unowned self] in complain($0) }
        backend.onChange = { [unowned self] _ in announce() }
        guest.onChange = { [unowned self] _ in announce() }
        store?.onReport = { Console.error("xenchan: \($0)") }
        reactor.addWork { [unowned self] in stopIfAsked() }
    }

    private func complain(_ diagnostic: DeviceDiagnostic) {
        Console.error("xenchan: \(diagnostic)")
        // Before anything was connected, what is wrong is what was asked for.
        if !hasBegun, case .service = diagnostic.problem {
            hasFailed = true
            stopRequest.make()
        }
    }

    /// Says of each channel when both sides are connected, and when they are not any more.
    private func announce() {
        var connected: [DeviceID: ChannelLine] = [:]
        let agents = guest.channels.filter(\.isConnected)
        for status in backend.channels where status.isConnected {
            guard let agent = agents.first(where: { $0.device == status.device }) else { continue }
            connected[status.device] = ChannelLine(status, agent)
        }
        let before = announced
        announced = connected
        if !connected.isEmpty { hasBegun = true }
        for line in before.values.sorted(by: { $0.devid < $1.devid }) where connected[DeviceID(line.devid)] == nil {
            say(line, "closed")
        }
        for line in connected.values.sorted(by: { $0.devid < $1.devid }) where before[DeviceID(line.devid)] == nil {
            say(line, "connected")
        }
    }

    private func say(_ line: ChannelLine, _ state: String) {
        var line = line
        line.state = state
        if isJSON {
            try? Console.print(json: line)
        } else {
            Console.print(line.text)
        }
    }

    // MARK: The end

    private func stopIfAsked() -> Bool {
        guard stopRequest.isMade, !isStopping else { return false }
        isStopping = true
        if hasFailed {
            // There is a channel without a backend: its frontend would wait for one in vain.
            backend.close { [self] in reactor.stop() }
        } else {
            guest.close { [self] in
                backend.close { [self] in reactor.stop() }
            }
        }
        return true
    }

    private func complain(_ name: String, _ count: Int, _ what: String) {
        if count > 0 { Console.error("xenchan: \(name): \(count) \(what)") }
    }

    /// Takes the guest apart and says what was left over.
    private func report() -> Int32 {
        for status in backend.leftovers {
            let name = status.name ?? "device \(status.device)"
            complain(name, status.bytesUndelivered, "bytes from the guest were never taken")
            complain(name, status.bytesUntaken, "bytes from outside were never taken by the guest")
            complain(name, Int(clamping: status.statistics.bytesDropped), "bytes from the guest were dropped")
        }
        for status in guest.leftovers {
            let name = status.name ?? "device \(status.device)"
            complain(name, status.bytesUndelivered, "bytes were never taken by the agent")
            complain(name, status.bytesUnsent, "bytes from the agent never left the guest")
        }
        do throws(ToolstackError) {
            for channel in channels { try toolstack.remove(channel.device, from: guest.domain.id) }
            let leaks = host.leaks(of: guest.domain.id).grants.count + host.leaks(of: .dom0).mappings.count
            // Of a world that could not begin the guest was not closed in order: what it has goes with it.
            if leaks > 0, !hasFailed { Console.error("xenchan: left over: \(host.leaks())") }
            try toolstack.destroy(guest.domain.id)
        } catch {
            Console.error("xenchan: \(error)")
            return ExitCode.failure
        }
        let isClosed = guest.channels.isEmpty && backend.channels.isEmpty
        return hasFailed || !isClosed ? ExitCode.failure : ExitCode.success
    }
}
