// SPDX-License-Identifier: MIT

/// How a program on the host reaches a channel: `libxl_channel_connection`. The set has been the same since 4.5 (C3).
public enum ChannelConnection: Hashable, Sendable {
    /// A pseudo-terminal, whose name the backend publishes in the node `tty` (C9).
    case pty
    /// A Unix socket that the backend listens on at this path.
    case socket(path: String)

    /// The word for it in specifications, in the node `connection` and in listings.
    public var kind: String {
        switch self {
        case .pty: "pty"
        case .socket: "socket"
        }
    }
}

/// What a configuration says of one channel: a CHANNEL_SPEC_STRING of xl, or `libxl_device_channel` before libxl has looked at it (C1).
///
/// ```swift
/// let channel = try ChannelSpecification("connection=socket, path=/run/agent.sock, name=org.example.agent.0")
/// channel.name        // "org.example.agent.0"
/// channel.connection  // .socket(path: "/run/agent.sock")
/// ```
///
/// The numbers of devices are not part of it: the first channel of a list is device 1, the next one 2 (C4), see `ChannelConfiguration`.
public struct ChannelSpecification: Hashable, Sendable {
    /// What the guest finds the channel by, in the style of `org.example.agent.0` (C10). xl lets a specification without a name pass
    /// and fails later (R20); so does this type, see `ChannelConfiguration`.
    public var name: String?
    /// How the host reaches it.
    public var connection: ChannelConnection
    /// The domain that serves it, by name or number; nil for domain 0.
    public var backend: String?

    /// Makes a specification.
    public init(name: String?, connection: ChannelConnection, backend: String? = nil) {
        self.name = name
        self.connection = connection
        self.backend = backend
    }

    /// The specification as xl reads it, `connection=pty,name=org.example.agent.0`; nil if it cannot be written so, because a value is
    /// empty, has a blank at an end, or contains a comma, an equals sign or a quotation mark (C1).
    public var text: String? {
        var pairs = [("connection", connection.kind)]
        if case .socket(let path) = connection { pairs.append(("path", path)) }
        if let name { pairs.append(("name", name)) }
        if let backend { pairs.append(("backend", backend)) }
        guard pairs.allSatisfy({ ChannelSpecification.isExpressible($0.1) }) else { return nil }
        return pairs.map { "\($0.0)=\($0.1)" }.joined(separator: ",")
    }

    private static func isExpressible(_ value: String) -> Bool {
        guard let first = value.utf8.first, let last = value.utf8.last else { return false }
        return !isBlank(first) && !isBlank(last)
            && !value.utf8.contains { $0 == UInt8(ascii: ",") || $0 == UInt8(ascii: "=") || $0 == UInt8(ascii: "\"") }
    }

    /// What C's `isspace` takes for a blank.
    static func isBlank(_ byte: UInt8) -> Bool {
        byte == 0x20 || (0x09...0x0D).contains(byte)
    }
}
