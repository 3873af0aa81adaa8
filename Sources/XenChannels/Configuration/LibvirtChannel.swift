// SPDX-License-Identifier: MIT

/// The attributes of a `<channel>` element of libvirt's domain XML, as they stand there; reading XML is left to the caller (C14).
///
/// ```xml
/// <channel type='unix'>
///   <source mode='bind' path='/run/agent.sock'/>
///   <target type='xen' name='org.example.agent.0'/>
/// </channel>
/// ```
public struct LibvirtChannel: Hashable, Sendable {
    /// `type` of the element itself: `pty` or `unix`.
    public var type: String
    /// `path` of `<source>`, if given.
    public var sourcePath: String?
    /// `mode` of `<source>`: `bind` for a socket that the backend listens on, which is the only kind a channel can have.
    public var sourceMode: String?
    /// `type` of `<target>`; only `xen` is a Xen channel.
    public var targetType: String?
    /// `name` of `<target>`.
    public var targetName: String?

    /// Collects the attributes.
    public init(
        type: String,
        sourcePath: String? = nil,
        sourceMode: String? = nil,
        targetType: String?,
        targetName: String?
    ) {
        self.type = type
        self.sourcePath = sourcePath
        self.sourceMode = sourceMode
        self.targetType = targetType
        self.targetName = targetName
    }

    /// The channel that libvirt makes of it for libxl.
    ///
    /// A socket without a path gets one in `directory`, named after the domain and the channel. libvirt reports a source type it does not
    /// know and goes on; here it is an error.
    public func specification(
        domainName: String,
        directory: String
    ) throws(LibvirtChannelError) -> ChannelSpecification {
        guard targetType == "xen" else { throw .targetTypeNotSupported }
        guard let targetName else { throw .targetNameMissing }
        switch type {
        case "pty":
            return ChannelSpecification(name: targetName, connection: .pty)
        case "unix":
            guard sourceMode == nil || sourceMode == "bind" else { throw .notListening }
            let given = sourcePath.flatMap { $0.isEmpty ? nil : $0 }
            let path = given ?? "\(directory)/\(domainName)-\(targetName)"
            return ChannelSpecification(name: targetName, connection: .socket(path: path))
        case let other:
            throw .sourceTypeNotSupported(other)
        }
    }
}

/// Why a `<channel>` cannot be a Xen channel.
public enum LibvirtChannelError: Error, Hashable, Sendable {
    /// `<target type=…>` is not `xen`.
    case targetTypeNotSupported
    /// `<target>` has no name.
    case targetNameMissing
    /// `<channel type=…>` is neither `pty` nor `unix`.
    case sourceTypeNotSupported(String)
    /// The socket would have to be connected to, not listened on.
    case notListening
}

extension LibvirtChannelError: CustomStringConvertible {
    /// libvirt's text for the first two.
    public var description: String {
        switch self {
        case .targetTypeNotSupported: "channel target type not supported"
        case .targetNameMissing: "channel target name missing"
        case .sourceTypeNotSupported(let type): "channel source type '\(type)' not supported"
        case .notListening: "channel source must be a listening socket (mode='bind')"
        }
    }
}
