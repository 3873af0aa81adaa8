// SPDX-License-Identifier: MIT

/// What a guest starts at its end of a channel.
public enum AgentKind: Sendable {
    /// Gives every byte back.
    case echo
    /// Takes every byte.
    case discard
    /// Runs a command of the shell; its standard input and output are the channel, and when it ends the channel closes.
    ///
    /// It has ended when nobody has its input and output open any more: whom it leaves them to speaks for it.
    /// A primary console cannot be closed: there it is started again, as init does with a getty.
    case program(String)
    /// The same for a program that is a service: it is started again whenever it ends, after 0.1 seconds, and twice as long each time, up to
    /// 12.8 seconds, until it has run for 10 seconds. The channel stays connected, and bytes wait for the next run.
    case service(String)
    /// A pseudo-terminal, like `/dev/hvcN`, for any real agent.
    case terminal
    /// This program itself.
    case handler(ChannelHandler)
}
