// SPDX-License-Identifier: MIT

import XenChannels

/// One end of a channel, ours or a simulated peer's, as the toolstack, the clients and the rules at rest see it.
protocol ChannelEnd: AnyObject {
    /// Whether bytes may flow, as far as this end knows.
    var isConnected: Bool { get }
    /// How far it is, in a word.
    var progress: String { get }
    /// The page it uses; nil while it has none.
    var frame: PageFrame? { get }
    /// What leads to its program.
    var pipe: Pipe? { get }
    /// Bytes it took from the ring and has not handed out.
    var backlog: Int { get }
    /// How many more it would take.
    var backlogRoom: Int { get }
    /// A client wants to connect; returns whether it was accepted.
    func accept(_ client: Program) -> Bool
    /// Its owner wants the device closed.
    func close()
    /// Nothing moves: gives back what is kept for the next bytes.
    func trim()
}

extension ChannelEnd where Self: Device {
    var pipe: Pipe? { pump.pipe }
    var backlog: Int { pump.relay.backlog.count }
    var backlogRoom: Int { pump.relay.limit - pump.relay.backlog.count }

    func trim() {
        pump.relay.trim()
        pump.pipe?.outward.trim()
        pump.pipe?.inward.trim()
    }
}

extension FrontendDevice: ChannelEnd {
    func accept(_: Program) -> Bool { false }
}

extension BackendDevice: ChannelEnd {
    var frame: PageFrame? { pump.ring?.access.frame }
}
