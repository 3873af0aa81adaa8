// SPDX-License-Identifier: MIT

import XenBus
import XenChannels
import XenHypervisor
import XenInterface
import XenStore

/// The toolstack: one task after the other, one request a step, with the scripts of libxl.
final class Toolstack: Actor {
    enum Job: Hashable {
        case createDomain(Int)
        case allocateStorePort(Int)
        case makeNodes(Int)
        case writeDetails(Int)
        case introduce(Int)
        case attach(Int, ChannelConfiguration)
        case makeConsole(Int)
        case boot(Int)
        case remove(Int, DeviceID)
        case removeNodes(Int)
        case destroy(Int)
        case save(Int)
    }

    /// What a task has to do in the store.
    private enum Progress {
        case script(StoreScript, StoreRequest, StoreTransactionID)
        case beginRemoval
        case removal(ConsoleDeviceRemoval, StoreStep, StoreTransactionID)
        case commitRemoval(StoreTransactionID)
    }

    private var tasks = WorkQueue<Job>()
    private var current: Job?
    private var progress: Progress?
    private var services: Services?
    private let population: Population

    init(_ id: Int, of population: Population, in world: World) {
        self.population = population
        super.init(id, in: world)
        services = Services(of: .dom0, in: world, actor: id, receivesEvents: false)
    }

    var isIdle: Bool { tasks.isEmpty && current == nil }

    func add(_ task: Job) {
        tasks.append(task)
        world.wake(id)
    }

    /// Ends in the middle of something, and begins that anew on another connection.
    func crash() {
        if let services { world.disconnect(services.store.base.id) }
        services = Services(of: .dom0, in: world, actor: id, receivesEvents: false)
        progress = nil
    }

    override func step() -> Bool {
        if progress != nil {
            advance()
        } else if let task = current {
            begin(task)
        } else if let task = tasks.popFirst() {
            current = task
            begin(task)
        }
        return !isIdle
    }

    private func finish() {
        progress = nil
        current = nil
    }

    private func begin(_ task: Job) {
        let index = task.guest
        let guest = population.guests[index]
        switch task {
        case .createDomain:
            if let domain = try? world.hypervisor.createDomain() {
                population.created(domain, for: guest)
                guest.skeleton = DomainSkeleton(
                    domain: domain,
                    name: "guest\(index)",
                    uuid: "00000000-0000-0000-0000-\(domain)"
                )
                world.note("creates domain \(domain)")
            }
            finish()
        case .allocateStorePort:
            if let domain = guest.domain {
                guest.storePort = try? world.hypervisor.allocateUnbound(in: domain, for: .dom0)
                guest.storeFrame = FrameNumber(1)
                world.note("allocates the store's port")
            }
            finish()
        case .makeNodes:
            run(guest.skeleton?.creation)
        case .writeDetails:
            guard let port = guest.storePort, let frame = guest.storeFrame else { return finish() }
            run(guest.skeleton?.details(storePort: port, storeFrame: frame))
        case .introduce:
            guard let port = guest.storePort, let frame = guest.storeFrame, let skeleton = guest.skeleton else {
                return finish()
            }
            run([StoreStep(skeleton.introduction(storePort: port, storeFrame: frame))], transaction: false)
        case .attach(_, let configuration):
            guard let domain = guest.domain, !guest.isDead else { return finish() }
            run(limited(configuration.creation(in: domain), by: guest.plans[configuration.device]?.plan))
        case .makeConsole:
            run(makeConsole(guest))
        case .boot:
            population.boot(guest)
            finish()
        case .remove:
            progress = .beginRemoval
            advance()
        case .removeNodes:
            run(guest.skeleton?.removal, transaction: false)
        case .destroy:
            guard let domain = guest.domain else { return finish() }
            population.stop(guest)
            world.note("destroys domain \(domain)")
            world.destroyDomain(domain)
            finish()
        case .save:
            finish()
            guard guest.isRunning, !guest.isDead else { return }
            if let peer = guest.peer, !peer.isAtRest {
                peer.whenAtRest { self.add(.save(index)) }
            } else {
                save(guest)
            }
        }
    }

    /// Saves a guest and restores it at once: the nodes are removed as for a destroyed domain, and made from scratch for another one
    /// (B31, R11).
    private func save(_ guest: GuestRecord) {
        let index = guest.index
        world.note("saves guest \(index)")
        let devices = guest.configurations.values.sorted { $0.device.rawValue < $1.device.rawValue }
        let consoles: [DeviceID] = guest.console == nil ? [] : [.primaryConsole]
        population.suspend(guest)
        var jobs: [Job] = (devices.map(\.device) + consoles).map { .remove(index, $0) }
        jobs += [.removeNodes(index), .destroy(index)]
        jobs += [
            .createDomain(index), .allocateStorePort(index), .makeNodes(index), .writeDetails(index), .introduce(index),
        ]
        jobs += devices.map { .attach(index, $0) }
        jobs += consoles.map { _ in .makeConsole(index) }
        tasks.prepend(jobs + [.boot(index)])
    }

    /// Makes the page and the port of a guest's primary console, and says what is to be written about them (B2 to B4).
    private func makeConsole(_ guest: GuestRecord) -> [StoreStep]? {
        guard let domain = guest.domain, !guest.isDead, let (frame, port) = console(of: guest, in: domain) else {
            return nil
        }
        let nodes = PrimaryConsole(port: port, frame: frame.number).creation(in: domain)
        return limited(nodes, by: guest.plans[.primaryConsole]?.plan)
    }

    /// The page and the port of a guest's console; a toolstack that crashed may have made them already.
    private func console(of guest: GuestRecord, in domain: DomainID) -> (frame: PageFrame, port: EventChannelPort)? {
        if let console = guest.console, console.frame.owner == domain { return console }
        guard let port = try? world.hypervisor.allocateUnbound(in: domain, for: .dom0) else { return nil }
        let frame = world.allocateFrame(of: domain)
        frame.begin(at: guest.consoleOrigin)
        world.hypervisor.seedGrant(.console, of: domain, to: .dom0, frame: frame.number)
        guest.console = (frame, port)
        return (frame, port)
    }

    /// A device's nodes, with the limit that its plan wants.
    private func limited(_ steps: [StoreStep], by plan: ChannelPlan?) -> [StoreStep] {
        guard let limit = plan?.limit else { return steps }
        return steps.map { step in
            guard case .write(let path, _) = step.request, path.lastComponent == "limit" else { return step }
            return StoreStep(.write(path, StoreValue(decimal: limit)))
        }
    }

    private func run(_ steps: [StoreStep]?, transaction: Bool = true) {
        guard let steps else { return finish() }
        var script = StoreScript(steps, transaction: transaction)
        follow(script.start(), &script)
        advance()
    }

    private func follow(_ next: StoreScript.Progress, _ script: inout StoreScript) {
        switch next {
        case .perform(let request, let transaction):
            progress = .script(script, request, transaction)
        case .finished:
            if case .attach(let index, let configuration) = current {
                population.guests[index].configurations[configuration.device] = configuration
                population.attached(configuration.device, to: population.guests[index])
            } else if case .makeConsole(let index) = current {
                population.attached(.primaryConsole, to: population.guests[index])
            }
            finish()
        case .failed(let failure):
            world.journal.fail("the toolstack cannot carry out its script: \(failure.request): \(failure.code)")
            finish()
        }
    }

    /// Sends the next request of the task.
    private func advance() {
        switch progress {
        case .script(var script, let request, let transaction):
            let reply = perform(request, in: transaction)
            follow(script.handle(reply), &script)
        case .beginRemoval:
            guard case .remove(let index, let device) = current, let domain = population.guests[index].domain,
                case .transaction(let transaction) = perform(.beginTransaction, in: .none)
            else { return finish() }
            var removal = ConsoleDeviceRemoval(of: device, in: domain)
            continueRemoval(&removal, after: nil, in: transaction)
        case .removal(var removal, let step, let transaction):
            let reply = perform(step.request, in: transaction)
            if case .failure(let code) = reply, !step.tolerated.contains(code) {
                // What was changed by others meanwhile is a conflict: all is begun anew (R27).
                _ = perform(.endTransaction(commit: false), in: transaction)
                progress = .beginRemoval
            } else {
                continueRemoval(&removal, after: reply, in: transaction)
            }
        case .commitRemoval(let transaction):
            guard case .remove(let index, let device) = current else { return finish() }
            if perform(.endTransaction(commit: true), in: transaction) == .failure(.again) {
                progress = .beginRemoval
            } else {
                population.removed(device, from: population.guests[index])
                finish()
            }
        case nil:
            break
        }
    }

    private func continueRemoval(
        _ removal: inout ConsoleDeviceRemoval,
        after reply: StoreReply?,
        in transaction: StoreTransactionID
    ) {
        if let step = removal.nextStep(after: reply) {
            progress = .removal(removal, step, transaction)
        } else {
            progress = .commitRemoval(transaction)
        }
    }

    private func perform(_ request: StoreRequest, in transaction: StoreTransactionID) -> StoreReply {
        let reply = services?.perform(request, in: transaction) ?? .failure(.inputOutput)
        world.note(StoreText.of(request, reply))
        return reply
    }

    override func hash(into hasher: inout Hasher) {
        hasher.combine(tasks)
        hasher.combine(current)
        switch progress {
        case .script(let script, let request, _):
            hasher.combine(script)
            hasher.combine(request)
        case .removal(let removal, let step, _):
            hasher.combine(removal)
            hasher.combine(step)
        case .beginRemoval: hasher.combine(1)
        case .commitRemoval: hasher.combine(2)
        case nil: hasher.combine(3)
        }
    }
}

extension Toolstack.Job {
    var guest: Int {
        switch self {
        case .createDomain(let index), .allocateStorePort(let index), .makeNodes(let index),
            .writeDetails(let index), .introduce(let index), .attach(let index, _),
            .makeConsole(let index), .boot(let index),
            .remove(let index, _), .removeNodes(let index), .destroy(let index), .save(let index):
            index
        }
    }
}
