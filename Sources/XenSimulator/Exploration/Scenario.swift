// SPDX-License-Identifier: MIT

public import XenChannels
import XenExploration

/// What happens in a simulated world: who is there, and what they are told to do.
///
/// The body builds the world and lets it run; everything that could go either way in it is drawn from the world's choices.
public struct Scenario: Sendable {
    /// Its name: the label of its recipes, and the word for it on the command line.
    public let name: String
    /// What it is about, in a line.
    public let summary: String
    /// How the backend behaves; nil for ours.
    public let backend: BackendProfile?
    let body: @Sendable (Simulation) -> Void

    /// Describes a scenario; `backend` is how the backend behaves, if it is not ours. Traps unless `name` can be the label of a recipe.
    public init(
        _ name: String,
        _ summary: String,
        backend: BackendProfile? = nil,
        body: @escaping @Sendable (Simulation) -> Void
    ) {
        precondition(!name.contains("+") && !name.isEmpty, "a scenario's name has no plus sign")
        self.name = name
        self.summary = summary
        self.backend = backend
        self.body = body
    }

    /// Lets it happen, and takes the world apart afterwards.
    public func run(in simulation: Simulation) {
        body(simulation)
        simulation.finish()
    }

    /// The scenarios that come with the library.
    public static let all = [boot, query, exchange, hotplug, restart, console, crowd, thousand, mixed]

    /// The scenario of a name; nil if there is none.
    public static func named(_ name: some StringProtocol) -> Scenario? {
        all.first { $0.name == name }
    }
}

extension Scenario {
    /// A guest boots and asks its host for its configuration, as cloud-early-config does.
    public static let boot = Scenario("cloud-early-config", "a guest boots and gets its configuration") { simulation in
        simulation.addGuest([ChannelPlan("org.example.config", agent: .ask(4), client: .answer)])
        simulation.settle()
    }

    /// The host asks an agent in the guest.
    public static let query = Scenario("agent-query", "the host asks an agent in the guest") { simulation in
        simulation.addGuest([ChannelPlan("org.example.agent", agent: .answer, client: .ask(6))])
        simulation.settle()
    }

    /// One channel, more bytes than the rings hold, in both directions.
    public static let exchange = Scenario("exchange", "more bytes than fit, in both directions") { simulation in
        simulation.addGuest([ChannelPlan("org.example.echo", agent: .echo, client: .send(9000))])
        simulation.settle()
    }

    /// Channels come and go while another one is busy.
    public static let hotplug = Scenario("hotplug", "channels come and go under load") { simulation in
        let guest = simulation.addGuest([ChannelPlan("org.example.load", agent: .send(6000), client: .send(6000))])
        simulation.runForAWhile()
        simulation.attach(ChannelPlan("org.example.late", agent: .echo, client: .send(500)), number: 2, to: guest)
        simulation.runForAWhile()
        simulation.detach(number: 2, from: guest)
        simulation.settle()
        simulation.attach(ChannelPlan("org.example.again", agent: .echo, client: .send(500)), number: 2, to: guest)
        simulation.settle()
    }

    /// The backend's daemon is killed and started again while bytes flow.
    public static let restart = Scenario("backend-restart", "the backend is restarted under load") { simulation in
        simulation.addGuest([ChannelPlan("org.example.load", agent: .send(6000), client: .send(6000))])
        simulation.runForAWhile()
        simulation.crashBackend()
        simulation.settle()
        simulation.crashBackend()
        simulation.settle()
    }

    /// A primary console, which has no handshake, beside a channel.
    public static let console = Scenario("console", "a primary console beside a channel, more bytes than fit in both") {
        simulation in
        simulation.addGuest(
            [ChannelPlan("org.example.echo", agent: .echo, client: .send(4000))],
            console: ChannelPlan("console", agent: .send(5000), client: .send(3000))
        )
        simulation.settle()
    }

    /// Many guests on one backend.
    public static let crowd = Scenario("crowd", "twenty guests on one backend") { simulation in
        for _ in 0..<20 {
            simulation.addGuest([ChannelPlan("org.example.agent", agent: .answer, client: .ask(2))])
        }
        simulation.settle()
    }

    /// A thousand guests on one backend.
    public static let thousand = Scenario("thousand", "a thousand guests on one backend") { simulation in
        simulation.stepLimit = 4_000_000
        for _ in 0..<1000 {
            simulation.addGuest([ChannelPlan("org.example.agent", agent: .answer, client: .ask(1))])
        }
        simulation.settle()
    }

    /// Two guests, three channels: the scenario for all faults at once.
    public static let mixed = Scenario("mixed", "two guests and three channels, for any faults") { simulation in
        simulation.addGuest([
            ChannelPlan("org.example.echo", agent: .echo, client: .send(3000)),
            ChannelPlan("org.example.agent", agent: .answer, client: .ask(3)),
        ])
        simulation.addGuest([ChannelPlan("org.example.load", agent: .send(2500), client: .send(2500))])
        simulation.settle()
    }
}

extension Simulation {
    /// Runs for some number of steps that chance decides.
    public func runForAWhile() {
        run(steps: world.chance.choices.choose(below: 400))
    }
}
