// SPDX-License-Identifier: MIT

/// What this program does with a channel's bytes, in place of a socket, terminal or program.
public enum ChannelHandler: Sendable {
    /// Runs a task in the loop's thread; when it returns, the channel is closed.
    case task(@Sendable (ChannelStream) async -> Void)
    /// Calls a function in the loop's thread, once, which keeps the stream and may set its `onReady`.
    case callback(@Sendable (ChannelStream) -> Void)

    func start(_ stream: ChannelStream) {
        switch self {
        case .task(let body):
            stream.task { stream in
                await body(stream)
                stream.finish()
            }
        case .callback(let body):
            body(stream)
        }
    }
}
