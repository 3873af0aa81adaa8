// SPDX-License-Identifier: MIT

public import XenInterface

/// What a host shows of one channel: `libxl_channelinfo`.
public struct ChannelInfo: Hashable, Sendable {
    /// The device's number; xl does not print it.
    public var device: DeviceID
    /// The channel's name; xl does not print it.
    public var name: String
    /// The domain that serves it.
    public var backend: DomainID
    /// The frontend's state (C11); nil if the guest has removed it or written nonsense.
    public var state: XenbusState?
    /// The guest's port; nil until it is connected (R19).
    public var port: EventChannelPort?
    /// The guest's grant; nil until it is connected (R19).
    public var ringReference: GrantReference?
    /// `pty` or `socket`, as the trusted copy says; any other word is shown as it is.
    public var connection: String
    /// The pseudo-terminal of a pty channel; nil if there is no such node.
    public var terminal: String?

    /// Collects what is known of a channel.
    public init(
        device: DeviceID,
        name: String,
        backend: DomainID = .dom0,
        state: XenbusState?,
        port: EventChannelPort? = nil,
        ringReference: GrantReference? = nil,
        connection: String,
        terminal: String? = nil
    ) {
        self.device = device
        self.name = name
        self.backend = backend
        self.state = state
        self.port = port
        self.ringReference = ringReference
        self.connection = connection
        self.terminal = terminal
    }
}

/// The channels of one guest as `xl channel-list` shows them, to the byte (C11, R19).
///
/// ```
/// Idx BE state evt-ch ring-ref connection
/// 0   0  4     8      8        socket
/// 1   0  4     9      9        pty        /dev/pts/3
/// ```
///
/// `Idx` counts rows, as in xl. xl also reads device `Idx + 1` for each row, which is the wrong one when numbers have gaps; the
/// information here is always the channel's own.
public struct ChannelListing: Hashable, Sendable {
    /// The channels, a row each.
    public var channels: [ChannelInfo]

    /// Makes a listing of channels in this order.
    public init(_ channels: [ChannelInfo]) {
        self.channels = channels
    }

    /// Header and rows, each with a newline; columns are padded with blanks, also the last one.
    public var text: String {
        channels.enumerated().reduce(into: ChannelListing.header) { text, row in
            text += ChannelListing.row(row.offset, row.element)
        }
    }

    private static let header =
        [("Idx", 3), ("BE", 2), ("state", 5), ("evt-ch", 6), ("ring-ref", 8), ("connection", 10), ("", 30)]
        .map { padded($0.0, $0.1) }.joined(separator: " ") + "\n"

    private static func row(_ index: Int, _ channel: ChannelInfo) -> String {
        let columns = [
            padded(String(index), 3), padded(channel.backend.description, 2),
            padded(channel.state.map { String($0.rawValue) } ?? "-1", 5),
            padded(channel.port?.description ?? "-1", 6),
            padded(channel.ringReference?.description ?? "-1", 8),
            padded(printable(channel.connection), 10),
        ]
        let terminal =
            channel.connection == ChannelConnection.pty.kind
            ? padded(printable(channel.terminal ?? "/NO-SUCH-PATH"), 30) + " " : ""
        return columns.joined(separator: " ") + " " + terminal + "\n"
    }

    private static func padded(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.unicodeScalars.count))
    }

    /// Backends of other domains write some of these nodes: nothing that steers a terminal may come out of them.
    private static func printable(_ text: String) -> String {
        let scalars = text.unicodeScalars.map { scalar -> Unicode.Scalar in
            scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value) ? "?" : scalar
        }
        return String(String.UnicodeScalarView(scalars))
    }
}
