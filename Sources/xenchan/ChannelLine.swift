// SPDX-License-Identifier: MIT

import XenChannelIO
import XenChannels
import XenInterface

/// What `xenchan run` says of a channel when it connects and when it closes.
struct ChannelLine: Encodable {
    let name: String?
    let devid: UInt32
    var state = "connected"
    let connection: String
    let path: String?
    let tty: String?
    let agentTty: String?

    init(_ status: ChannelStatus, _ agent: AgentStatus) {
        name = status.name
        devid = status.device.rawValue
        connection = status.connection.kind
        if case .socket(let path) = status.connection {
            self.path = path
        } else {
            path = nil
        }
        tty = status.tty
        agentTty = agent.tty
    }

    /// One line for a person.
    var text: String {
        let agent = agentTty.map { "  agent at \($0)" } ?? ""
        return "\(name ?? "console")  device \(devid)  \(state)  \(connection) \(path ?? tty ?? "")\(agent)"
    }
}
