// SPDX-License-Identifier: MIT

/// What a guest starts at its end of a channel.
public enum AgentKind: Sendable {
    /// Gives every byte back.
    case echo
    /// Takes every byte.
    case discard
    /// Runs a command of the shell; its standard input and output are the channel, and when it ends the channel closes.
    case program(String)
    /// A pseudo-terminal, like `/dev/hvcN`, for any real agent.
    case terminal
    /// This program itself.
    case handler(ChannelHandler)
}
