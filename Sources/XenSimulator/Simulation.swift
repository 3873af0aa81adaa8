// SPDX-License-Identifier: MIT

import XenBus
public import XenChannels
public import XenExploration
import XenInterface
import XenStore

/// A Xen host in one thread: a toolstack, a backend's daemon, guests with their agents, clients on the host; the machines that ship, over
/// the fakes.
///
/// Each of them is an actor that does one small thing at a time: a ring operation, a hypercall, a store request, taking one event. Between
/// any two steps `Choices` decides who is next, and which faults strike. Time is virtual: it passes when nobody has anything to do. The same
/// choices make the same world, in every process.
///
/// ```swift
/// let simulation = Simulation(Choices(seed: 7))
/// simulation.addGuest([ChannelPlan("org.example.agent", agent: .echo, client: .send(10_000))])
/// simulation.settle()     // runs until nothing moves, and checks that everything arrived
/// simulation.finish()     // takes the world apart, and checks that nothing is left
/// if let failure = simulation.failure { print(failure) }
/// ```
public final class Simulation {
    let world: World
    let toolstack: Toolstack
    let backend: BackendDaemon
    let population: Population
    var guests: [GuestRecord] { population.guests }
    private let scheduler: Slot<Scheduler>
    private let disasters: Disasters
    /// How many steps were made.
    public var steps: Int { run.value.steps }
    /// What is checked after every step besides the world's own rules: returns what is wrong, or nil.
    public var invariants: [(Simulation) -> String?] {
        unsafeAddress { unsafe invariantsSlot.reading }
        unsafeMutableAddress { unsafe invariantsSlot.writing }
    }
    private let invariantsSlot = Slot<[(Simulation) -> String?]>([])
    /// A run of more steps than this counts as one that does not come to rest.
    public var stepLimit: Int {
        get { run.value.stepLimit }
        set { run.value.stepLimit = newValue }
    }
    /// The run stops after this step, as it stands: for a look at it.
    public var lastStep: Int {
        get { run.value.lastStep }
        set { run.value.lastStep = newValue }
    }
    /// States that were seen before end the run, if this set is there.
    var visited: VisitedStates? {
        get { run.value.visited }
        set { run.value.visited = newValue }
    }
    /// Whether the run was ended before its end.
    var isCut: Bool { run.value.isCut }
    private let run = Slot(Run())

    /// How far the run is, and where it ends at the latest.
    private struct Run {
        var steps = 0
        var stepLimit = 200_000
        var lastStep = Int.max
        var isCut = false
        var visited: VisitedStates?
    }

    /// Makes a world with a toolstack and a backend in domain 0, which begin at once.
    public init(
        _ choices: Choices,
        faults: FaultPlan = FaultPlan(),
        schedule: Schedule = .random,
        substitution: (any Substitution)? = nil,
        backend profile: BackendProfile? = nil,
        tracing: Bool = false
    ) {
        let chance = Chance(choices, plan: faults)
        world = World(chance: chance, substitution: substitution, tracing: tracing)
        scheduler = Slot(Scheduler(schedule, &chance.choices))
        disasters = Disasters(chance)
        population = Population(world)
        toolstack = Toolstack(world.column(named: "toolstack"), of: population, in: world)
        backend = BackendDaemon(world.column(named: "backend"), of: .dom0, among: population, in: world)
        world.replace(toolstack)
        world.replace(backend)
        if let profile {
            let daemon = PeerDaemon(world.column(named: profile.name), profile, among: population, in: world)
            population.peerDaemon = daemon
            world.replace(daemon)
            daemon.start()
        } else {
            backend.start()
        }
    }

    deinit {
        world.removeActors()
        population.dismantle()
    }

    /// Why the run failed; nil while all is well.
    public var failure: String? { world.journal.failure }

    /// The choices, with what was taken of them so far.
    public var choices: Choices { world.chance.choices }

    /// What happened so far, if tracing is on.
    public var trace: Trace? {
        guard world.isTracing else { return nil }
        var trace = world.trace
        trace.names = world.names
        return trace
    }

    /// Virtual time since the beginning.
    public var now: Duration { world.now }

    /// How often each fault has struck, in the order of the faults' declaration; those that did not are left out.
    public var struckFaults: [(fault: Fault, count: Int)] {
        Fault.allCases.compactMap { fault in
            let count = world.chance.struck[fault.rawValue]
            return count > 0 ? (fault, count) : nil
        }
    }

    /// Which events have met the handshake machines in which states.
    public var coverage: HandshakeCoverage { world.coverage }

    /// Ends the run with a failure, unless it has one already.
    public func fail(_ text: String) {
        world.journal.fail(text)
    }

    // MARK: What the toolstack does

    /// Has the toolstack make a guest with channels, and boot it; returns its number, counted from 0.
    ///
    /// `frontend` is how its kernel behaves, if it is not ours. The indices of its primary console begin at `consoleOrigin`, as after so many
    /// bytes.
    @discardableResult
    public func addGuest(
        _ channels: [ChannelPlan],
        console: ChannelPlan? = nil,
        consoleOrigin: UInt32 = 0,
        frontend profile: FrontendProfile? = nil
    ) -> Int {
        let index = population.add(channels)
        guests[index].profile = profile
        guests[index].consoleOrigin = consoleOrigin
        guests[index].plans[.primaryConsole] = console.map(SharedPlan.init)
        let before: [Toolstack.Job] = [
            .createDomain(index), .allocateStorePort(index), .makeNodes(index), .writeDetails(index), .introduce(index),
        ]
        let attaching = channels.enumerated().compactMap { configuration($0.element, $0.offset + 1, index) }
            .map { Toolstack.Job.attach(index, $0) }
        // A guest that boots late finds its devices; one that boots early sees them come.
        // Linux lists its devices before it watches them, and misses one that comes in between: xl makes them before it boots.
        let bootsEarly = profile == nil && world.chance.choices.bool()
        for task in before { toolstack.add(task) }
        // The primary console is there before the kernel is.
        if bootsEarly, console != nil { toolstack.add(.makeConsole(index)) }
        if bootsEarly { toolstack.add(.boot(index)) }
        for task in attaching { toolstack.add(task) }
        if !bootsEarly, console != nil { toolstack.add(.makeConsole(index)) }
        if !bootsEarly { toolstack.add(.boot(index)) }
        return index
    }

    /// Has the toolstack give a guest one more channel, as device `number`, which must be free.
    public func attach(_ plan: ChannelPlan, number: Int, to guest: Int) {
        guard let configuration = configuration(plan, number, guest) else { return }
        population.setPlan(plan, of: configuration.device, in: guest)
        toolstack.add(.attach(guest, configuration))
    }

    /// Has the toolstack take a channel away.
    public func detach(number: Int, from guest: Int) {
        toolstack.add(.remove(guest, DeviceID(UInt32(number))))
    }

    private func configuration(_ plan: ChannelPlan, _ number: Int, _ guest: Int) -> ChannelConfiguration? {
        let specification = ChannelSpecification(
            name: plan.name,
            connection: .socket(path: "/run/\(plan.name).\(guest)")
        )
        return try? ChannelConfiguration(specification, device: DeviceID(UInt32(number)))
    }

    /// Has a guest close one of its channels through the protocol.
    public func close(number: Int, from guest: Int) {
        guard let domain = guests[guest].domain else { return }
        let key = DeviceKey(frontend: domain, device: DeviceID(UInt32(number)))
        guests[guest].channels[key]?.isExpected = false
        if let daemon = guests[guest].daemon {
            daemon.close(key)
        } else {
            guests[guest].channels[key]?.frontend?.close()
        }
    }

    /// Has a guest take up a channel again that it has closed.
    public func open(number: Int, from guest: Int) {
        guard let domain = guests[guest].domain else { return }
        let key = DeviceKey(frontend: domain, device: DeviceID(UInt32(number)))
        let record = guests[guest].channels[key]
        record?.isExpected = true
        if let daemon = guests[guest].daemon {
            daemon.lookAgain(at: key)
        } else {
            (record?.frontend as? PeerFrontend)?.reopen()
        }
    }

    /// Has a channel's client ask so many questions more. Traps if that is not what the channel's plan has the client do.
    public func ask(_ count: Int, number: Int, of guest: Int) {
        guard let domain = guests[guest].domain else { return }
        let key = DeviceKey(frontend: domain, device: DeviceID(UInt32(number)))
        guests[guest].channels[key]?.client?.ask(count)
    }

    // MARK: Disasters on demand

    /// Has the toolstack save a guest and restore it at once, as another domain. Its programs go on; what was in rings and buffers is
    /// lost (R11).
    public func saveAndRestore(_ guest: Int) {
        toolstack.add(.save(guest))
    }

    /// Ends the backend's daemon at once; it starts again after `pause` of virtual time.
    public func crashBackend(pause: Duration = .seconds(1)) {
        world.note("the backend crashes")
        if let daemon = population.peerDaemon { daemon.crash() } else { backend.crash() }
        let actor = population.peerDaemon?.id ?? backend.id
        world.timers.start(.init(deadline: world.now + pause, actor: actor, purpose: .restart))
    }

    /// Ends the toolstack in the middle of what it does; it begins that anew at once.
    public func crashToolstack() {
        world.note("the toolstack crashes")
        toolstack.crash()
    }

    /// Ends a guest at once; the toolstack removes what is left of it, and makes it again under another number.
    public func crashGuest(_ index: Int) {
        let guest = guests[index]
        guard guest.isRunning, let domain = guest.domain else { return }
        world.note("guest \(index) crashes")
        population.stop(guest)
        guest.isDead = true
        world.destroyDomain(domain)
        // Also those that are still to be attached.
        for device in guest.sortedPlans.map(\.device) { toolstack.add(.remove(index, device)) }
        toolstack.add(.removeNodes(index))
        let channels = guest.sortedPlans.filter { $0.device != .primaryConsole }.map(\.plan)
        addGuest(channels, console: guest.plans[.primaryConsole]?.plan, frontend: guest.profile)
    }

    // MARK: Running

    /// Makes one step of somebody who has something to do, or lets time pass; false when nothing will ever happen again.
    public func step() -> Bool {
        let world = world
        guard !world.journal.hasFailed, !isCut else { return false }
        guard steps < run.value.lastStep else {
            run.value.isCut = true
            return false
        }
        guard !world.ready.isEmpty else { return passTime() }
        run.value.steps += 1
        let actor = scheduler.value.pick(from: world.ready, &world.chance.choices)
        if world.isTracing {
            world.trace.step = steps
            world.trace.actor = actor
        }
        if !world.actors[actor].step() { world.sleep(actor) }
        if disasters.isDue(at: steps) { disasters.strike(self) }
        if !invariants.isEmpty { checkInvariants() }
        if steps >= run.value.stepLimit { fail("the world does not come to rest within \(stepLimit) steps") }
        if run.value.visited != nil { cutIfSeen() }
        return true
    }

    /// Makes up to so many steps.
    public func run(steps count: Int) {
        for _ in 0..<count where !step() { return }
    }

    /// Runs until nothing moves any more, then checks that everything that should work does, and that nobody sleeps over work.
    public func settle() {
        while step() {}
        guard failure == nil, !isCut else { return }
        checkRest()
        trim()
    }

    /// Takes the world apart as a toolstack does, without further faults, and checks that nothing is left of it.
    public func finish() {
        world.chance.isActive = false
        settle()
        for guest in guests where guest.isRunning {
            for (key, _) in guest.sortedChannels { toolstack.add(.remove(guest.index, key.device)) }
        }
        while step() {}
        if failure == nil, !isCut { checkGuestLeaks() }
        for guest in guests where guest.isRunning {
            toolstack.add(.removeNodes(guest.index))
            toolstack.add(.destroy(guest.index))
        }
        while step() {}
        if failure == nil, !isCut { checkLeaks() }
    }

    private func passTime() -> Bool {
        guard let entry = world.timers.takeNext() else { return false }
        if entry.deadline > world.now { world.now = entry.deadline }
        world.trace.actor = entry.actor
        switch entry.purpose {
        case .resume: world.resume(entry.actor)
        case .machine, .scan, .poll, .overflow, .restart, .reopen:
            world.note("its timer runs out")
            world.actors[entry.actor].timerFired(entry.purpose)
        }
        return true
    }

    private func checkInvariants() {
        for invariant in invariants {
            if let problem = invariant(self) { fail(problem) }
        }
    }

    private func cutIfSeen() {
        var hasher = Hasher()
        world.hash(into: &hasher)
        scheduler.value.hash(into: &hasher)
        for actor in world.actors { actor.hash(into: &hasher) }
        if visited?.insert(hasher.finalize()) == false { run.value.isCut = true }
    }
}
