// SPDX-License-Identifier: MIT

import XenBus
import XenChannels
import XenExploration
import XenHypervisor
import XenInterface
import XenStore

@testable import XenSimulator

/// Plays a recording of a real host once more, with simulated peers in the place of the programs that they stand for.
///
/// What the others did is done as it was recorded: the toolstack, the scripts. A peer makes each request when the real program made it, if it is
/// the one that it makes next; all else is a difference. So a recording is reproduced request by request, in the order of all actors,
/// with every value written and every answer given.
///
/// Not compared, with the reason: requests that are not about consoles (`isAboutConsoles`); the tokens of watches, and the numbers of
/// transactions and connections, which each program and run chooses for itself.
final class TraceReplay {
    /// Which peer a connection belongs to.
    enum Role: Hashable {
        case guest
        case qemu
        case consoleDaemon
    }

    let world = World(chance: Chance(Choices(seed: 1)), substitution: nil, tracing: false)
    private(set) var population: Population
    private(set) var processes: [Role: PeerProcess] = [:]
    private var roles: [String: Role] = [:]
    private var others: [String: HostedStoreConnection] = [:]
    private var transactions: [String: StoreTransactionID] = [:]
    private var expected: [String: [String?]] = [:]
    private var lastWrites: [ObjectIdentifier: StorePath] = [:]
    /// Lines in which somebody in the guest uses its kernel's connection as well: what the kernel does not ask is not compared there.
    var shellLines = 0..<0
    /// Peers that are not running: a guest that is being saved.
    var suspended: Set<Role> = []
    private(set) var differences: [String] = []
    /// How many requests of peers were made as recorded.
    private(set) var matched: [Role: Int] = [:]

    init() {
        population = Population(world)
    }

    deinit {
        for process in processes.values { process.end() }
        population.dismantle()
        world.removeActors()
    }

    // MARK: The host

    /// Makes a domain, whose ports below `firstPort` are used for other things.
    func createDomain(firstPort: Int = 8) throws -> DomainID {
        let domain = try world.hypervisor.createDomain()
        for _ in 1..<firstPort { _ = try world.hypervisor.allocateUnbound(in: domain, for: .dom0) }
        // The primary console of the recordings: its page, which is port 2's.
        let frame = world.allocateFrame(of: domain)
        world.hypervisor.seedGrant(.console, of: domain, to: .dom0, frame: frame.number)
        return domain
    }

    func startGuest(as domain: DomainID) {
        let guest = PeerGuest(world.column(named: "guest"), of: domain, .linux, among: population, in: world)
        start(guest, as: .guest)
    }

    func startQEMU(for domain: DomainID) {
        processes[.qemu]?.crash()
        let daemon = PeerDaemon(world.column(named: "qemu"), .qemu7, among: population, in: world)
        start(daemon, as: .qemu)
        daemon.serve(domain)
    }

    func startConsoleDaemon() {
        start(
            PeerDaemon(world.column(named: "xenconsoled"), .xenconsoled, among: population, in: world),
            as: .consoleDaemon
        )
    }

    private func start(_ process: PeerProcess, as role: Role) {
        world.replace(process)
        processes[role] = process
        process.start()
    }

    /// Who is who: told by what only that program asks.
    func identify(_ connection: String, as role: Role) {
        roles[connection] = role
    }

    // MARK: Playing

    func play(_ line: TraceLine, following rest: ArraySlice<TraceLine>) {
        switch line.kind {
        case .created, .destroyed:
            if let role = roles[line.connection] { processes.removeValue(forKey: role)?.crash() }
            roles[line.connection] = nil
            transactions[line.connection] = nil
            expected[line.connection] = nil
            if let client = others.removeValue(forKey: line.connection) { world.disconnect(client.id) }
        case .mark:
            break
        case .reply(let operation):
            checkReply(line, operation)
        case .request:
            guard let request = line.request else { return pass(line) }
            if let role = roles[line.connection] {
                playPeer(role, request, line, rest)
            } else {
                playOther(request, line)
            }
            world.deliverWatches()
        }
    }

    private func pass(_ line: TraceLine) {
        expected[line.connection, default: []].append(nil)
    }

    /// Does what a program did that no peer stands for.
    private func playOther(_ request: StoreRequest, _ line: TraceLine) {
        defer { pass(line) }
        let client = others[line.connection] ?? world.store.connect(as: .dom0)
        others[line.connection] = client
        let transaction = transactions[line.connection] ?? .none
        switch request {
        case .write, .makeDirectory, .remove, .setPermissions, .introduce:
            _ = client.perform(request, in: transaction)
        case .beginTransaction:
            if case .transaction(let id) = client.perform(request, in: .none) { transactions[line.connection] = id }
        case .endTransaction:
            transactions[line.connection] = nil
            if client.perform(request, in: transaction) != .done { differ(line, "the transaction is refused") }
        case .directory, .directoryPart, .read, .getPermissions, .watch, .unwatch, .resetWatches, .release, .resume,
            .setTarget, .isIntroduced, .domainPath:
            break
        }
    }

    // MARK: Peers

    /// Lets every peer take its events, and make the hypercalls that come next: nobody sees when they do that.
    func settle() {
        world.deliverWatches()
        var isMoving = true
        while isMoving {
            isMoving = false
            for (role, process) in processes where !suspended.contains(role) {
                while process.services?.hasWatchEvent ?? false { process.takeWatch() }
                for thread in process.threads {
                    while case .act = thread.call {
                        process.advance(thread)
                        isMoving = true
                    }
                }
            }
        }
    }

    /// Lets everybody do what they want until they have nothing more to do, one after the other.
    func run() {
        repeat {
            settle()
            for (_, process) in processes.sorted(by: { "\($0.key)" < "\($1.key)" }) {
                for thread in process.threads where thread.call != nil { process.advance(thread) }
            }
        } while !pending.isEmpty
    }

    /// Does something as the toolstack, before the recording begins.
    func perform(_ steps: [StoreStep]) throws {
        var toolstack = world.store.connect(as: .dom0)
        var script = StoreScript(steps, transaction: true)
        _ = try script.run(on: &toolstack)
        world.disconnect(toolstack.id)
    }

    /// The requests that peers would make next.
    var pending: [String] {
        settle()
        return processes.sorted { "\($0.key)" < "\($1.key)" }.flatMap { role, process in
            suspended.contains(role) ? [] : process.threads.compactMap { $0.request.map { "\(role): \($0)" } }
        }
    }

    private func isAboutConsoles(_ request: StoreRequest, _ line: TraceLine, _ rest: ArraySlice<TraceLine>) -> Bool {
        switch request {
        case .domainPath: return true
        case .endTransaction(commit: false): return false
        case .beginTransaction, .endTransaction(commit: true):
            // The next request that names a node tells, or the event that a commit has fired.
            for next in rest.prefix(60) {
                guard let text = next.path?.text, text.contains("/") else { continue }
                if case .endTransaction = request, next.kind == .reply("WATCH_EVENT") {
                    return text.contains("console")
                }
                if request == .beginTransaction, next.connection == line.connection, next.request != nil {
                    return text.contains("console/")
                }
            }
            return false
        case .directory, .directoryPart, .read, .write, .makeDirectory, .remove, .getPermissions, .setPermissions,
            .watch, .unwatch, .resetWatches, .introduce, .release, .resume, .setTarget, .isIntroduced:
            guard let text = line.path?.text else { return false }
            // QEMU's list of the kinds of devices it serves is not about any of them.
            return text == "device" || (text.contains("console") && !text.contains("device-model"))
                || text.hasPrefix("@")
        }
    }

    private func playPeer(_ role: Role, _ request: StoreRequest, _ line: TraceLine, _ rest: ArraySlice<TraceLine>) {
        guard let process = processes[role] else { return pass(line) }
        settle()
        let candidates = process.threads.filter { $0.request?.normalised == request.normalised }
        guard let thread = choose(among: candidates, request, rest) else {
            pass(line)
            guard isAboutConsoles(request, line, rest), role != .guest || !shellLines.contains(line.number) else {
                return
            }
            return differ(line, "the real \(role) makes another request; the peer: \(pending)")
        }
        if case .write(let path, _) = request { lastWrites[ObjectIdentifier(thread)] = path }
        var answer: StoreReply?
        thread.advance { request, transaction in
            let reply = process.services?.perform(request, in: transaction) ?? .failure(.inputOutput)
            answer = reply
            return reply
        }
        matched[role, default: 0] += 1
        expected[line.connection, default: []].append(answer?.traced)
    }

    /// Two threads may be at the end of a transaction: the event that follows tells which of them it was.
    private func choose(
        among threads: [PeerThread],
        _ request: StoreRequest,
        _ rest: ArraySlice<TraceLine>
    ) -> PeerThread? {
        guard threads.count > 1, case .endTransaction = request else { return threads.first }
        let fired = rest.first { $0.kind == .reply("WATCH_EVENT") }?.path?.text ?? ""
        return threads.first { fired.hasSuffix(lastWrites[ObjectIdentifier($0)]?.text ?? "?") } ?? threads.first
    }

    private func checkReply(_ line: TraceLine, _ operation: String) {
        guard operation != "WATCH_EVENT", let first = expected[line.connection]?.first else { return }
        expected[line.connection]?.removeFirst()
        guard let text = first, text != line.text else { return }
        differ(line, "the answer was (\(line.text)), and is (\(text))")
    }

    private func differ(_ line: TraceLine, _ text: String) {
        differences.append("line \(line.number), \(line.kind) (\(line.text)): \(text)")
    }
}
