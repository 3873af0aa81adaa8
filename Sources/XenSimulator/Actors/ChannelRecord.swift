// SPDX-License-Identifier: MIT

public import XenChannels

/// A channel of a simulated guest, and who uses it.
public struct ChannelPlan: Hashable, Sendable {
    /// The channel's name.
    public var name: String
    /// What the guest does with it.
    public var agent: ProgramBehavior
    /// What the host does with it.
    public var client: ProgramBehavior
    /// The largest pieces that both write at once; several are chosen from.
    public var chunks = [1, 16, 64, 700, 4096]

    /// What becomes of the guest's bytes when nobody takes them, if the backend is ours.
    public var overflow = OverflowPolicy.blockForever
    /// How many of the guest's bytes may wait outside the ring, as the toolstack says it; nil for as many as it always says.
    public var limit: Int?

    /// Plans a channel.
    public init(_ name: String, agent: ProgramBehavior, client: ProgramBehavior) {
        self.name = name
        self.agent = agent
        self.client = client
    }
}

/// A plan, held once by all who need it.
final class SharedPlan {
    let plan: ChannelPlan

    init(_ plan: ChannelPlan) {
        self.plan = plan
    }
}

/// What the world knows of one channel of one guest's life.
final class ChannelRecord {
    private let shared: SharedPlan
    var plan: ChannelPlan { shared.plan }
    /// The two sides, while they have machines.
    var frontend: (any ChannelEnd)? {
        get { ends.frontend.device }
        set { ends.frontend.set(newValue) }
    }
    var backend: (any ChannelEnd)? {
        get { ends.backend.device }
        set { ends.backend.set(newValue) }
    }
    private var ends: (frontend: ChannelSide, backend: ChannelSide) = (ChannelSide(), ChannelSide())
    var client: Program?
    var agent: Program?
    /// False once bytes were lost with a crash or a vanished client: then positions cannot be told.
    var isExact = true
    /// How many of the agent's bytes went with a crash, a client or an overflow.
    var lostFromGuest: UInt64 = 0
    /// False once bytes were lost that nobody counts: with a page that was given up, or a guest that was suspended.
    var isCounted = true
    /// How often an overflow was reported: once an attachment at most.
    var overflowsTold = 0
    /// Whether it should work: it was attached, and neither it nor its guest was removed.
    var isExpected = false
    /// A guest that breaks the rules has it.
    var isHostile = false

    /// Its guest is suspended to be saved: what lies in rings and buffers is lost (R11). Returns the programs, which are not.
    func suspend() -> SavedChannel? {
        guard let agent, let client else { return nil }
        let ends = [frontend, backend].compactMap(\.self)
        let rings = frontend?.frame.map { $0.output.count + $0.input.count } ?? 0
        if rings > 0 || ends.contains(where: { $0.backlog > 0 || !($0.pipe?.inward.isEmpty ?? true) }) {
            isExact = false
        }
        isCounted = false
        agent.hangUp()
        client.hangUp()
        self.agent = nil
        self.client = nil
        isExpected = false
        return SavedChannel(agent: agent, client: client, isExact: isExact)
    }

    /// The guest was restored.
    func resume(_ saved: SavedChannel) {
        isExact = isExact && saved.isExact
        isCounted = false
        agent = saved.agent
        client = saved.client
        saved.agent.move(to: self)
        saved.client.move(to: self)
    }

    /// Another actor has taken the place of a device.
    func forget(_ device: Device) {
        ends.frontend.forget(device)
        ends.backend.forget(device)
    }

    init(_ shared: SharedPlan) {
        self.shared = shared
    }

    /// Its guest breaks the rules: nothing can be said of its bytes.
    func distrust() {
        isHostile = true
        isExact = false
        isCounted = false
    }
}

/// Who is at one side of a channel.
///
/// A device of ours is held until its actor is replaced: counting references to what is referred to weakly takes several times as long, and
/// devices are used at every step.
private struct ChannelSide {
    private var own: (any ChannelEnd)?
    private weak var peer: PeerDevice?

    var device: (any ChannelEnd)? { own ?? peer }

    mutating func set(_ device: (any ChannelEnd)?) {
        peer = device as? PeerDevice
        own = peer == nil ? device : nil
    }

    mutating func forget(_ device: Device) {
        if own === device { own = nil }
    }
}

/// What is left of a channel while its guest is saved.
struct SavedChannel {
    let agent: Program
    let client: Program
    let isExact: Bool
}
