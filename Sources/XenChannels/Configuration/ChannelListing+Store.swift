// SPDX-License-Identifier: MIT

public import XenInterface

extension ChannelListing {
    /// Reads the channels of a guest from the store, by ascending device number.
    ///
    /// What there is comes from the toolstack's own copy under `/libxl`, where no guest can write (B11, XSA-175); from the frontend's directory come
    /// state, port and grant, which are the guest's to say, and the terminal, which it can only read. Consoles without a name are no channels.
    /// A guest without channels, and a domain that is not there, give an empty listing.
    public init<Connection: StoreConnection & ~Copyable>(
        of domain: DomainID,
        readingFrom store: inout Connection
    ) throws(StoreErrorCode) {
        let reader = ChannelReader(domain: domain)
        self.init([])
        for device in try reader.devices(from: &store) {
            if let channel = try reader.channel(device, from: &store) { channels.append(channel) }
        }
    }
}

private struct ChannelReader {
    /// How often a listing in parts is begun again because the directory changed meanwhile.
    static let attempts = 100
    /// Where a listing in parts is given up, in bytes: no directory has a million devices.
    static let longestDirectory: UInt32 = 1 << 24

    let domain: DomainID

    var directory: StorePath { StorePath.toolstack(domain).appending("device/console") }

    func devices<Connection: StoreConnection & ~Copyable>(
        from store: inout Connection
    ) throws(StoreErrorCode) -> [DeviceID] {
        let names: [String]
        switch store.perform(.directory(directory), in: .none) {
        case .children(let children): names = children
        case .failure(.noEntry): return []
        case .failure(.tooBig): names = try longDirectory(from: &store)
        case .failure(let error): throw error
        case .done, .value, .part, .permissions, .transaction, .flag, .path: throw .inputOutput
        }
        return names.compactMap { StoreValue($0).decimal(UInt32.self) }.sorted().map { DeviceID($0) }
    }

    /// A listing of more than one message, which begins anew when the directory changes (D20).
    func longDirectory<Connection: StoreConnection & ~Copyable>(
        from store: inout Connection
    ) throws(StoreErrorCode) -> [String] {
        for _ in 0..<ChannelReader.attempts {
            if let names = try completeDirectory(from: &store) { return names }
        }
        throw .again
    }

    private func completeDirectory<Connection: StoreConnection & ~Copyable>(
        from store: inout Connection
    ) throws(StoreErrorCode) -> [String]? {
        var names: [String] = []
        var offset: UInt32 = 0
        var first: UInt64?
        while true {
            switch store.perform(.directoryPart(directory, offset: offset), in: .none) {
            case .part(let generation, let children, let isLast):
                guard (first ?? generation) == generation else { return nil }
                first = generation
                names += children
                if isLast { return names }
                guard !children.isEmpty, offset < ChannelReader.longestDirectory else { throw .inputOutput }
                offset += children.reduce(0) { $0 + UInt32($1.utf8.count) + 1 }
            case .failure(let error): throw error
            case .done, .value, .children, .permissions, .transaction, .flag, .path: throw .inputOutput
            }
        }
    }

    /// A channel; nil if the device has no name or is going away.
    func channel<Connection: StoreConnection & ~Copyable>(
        _ device: DeviceID,
        from store: inout Connection
    ) throws(StoreErrorCode) -> ChannelInfo? {
        let copy = directory.appending(device)
        guard let name = try value(copy.appending("name"), from: &store) else { return nil }
        guard let backend = try value(copy.appending("backend"), from: &store).flatMap(ChannelReader.backendDomain)
        else { return nil }
        let connection = try value(copy.appending("connection"), from: &store)?.text ?? "unknown"
        let frontend = ConsoleDeviceNodes(domain: domain, device: device, backendDomain: backend).frontend
        let state = try value(frontend.appending("state"), from: &store)
        let port = try value(frontend.appending("port"), from: &store)
        let reference = try value(frontend.appending("ring-ref"), from: &store)
        let terminal = try value(frontend.appending("tty"), from: &store)
        return ChannelInfo(
            device: device,
            name: name.text,
            backend: backend,
            state: state.flatMap { XenbusState(storeValue: $0) },
            port: port?.decimal(UInt32.self).map { EventChannelPort($0) },
            ringReference: reference?.decimal(UInt32.self).map { GrantReference($0) },
            connection: connection,
            terminal: terminal?.text
        )
    }

    /// The domain in `/local/domain/B/backend/console/N/D`.
    private static func backendDomain(_ path: StoreValue) -> DomainID? {
        guard let components = StorePath(path.text)?.components, components.count > 3, components[0] == "local",
            components[1] == "domain", components[3] == "backend"
        else { return nil }
        return StoreValue(components[2]).decimal(UInt16.self).map { DomainID($0) }
    }

    private func value<Connection: StoreConnection & ~Copyable>(
        _ path: StorePath,
        from store: inout Connection
    ) throws(StoreErrorCode) -> StoreValue? {
        switch store.perform(.read(path), in: .none) {
        case .value(let value): return value
        case .failure(.noEntry): return nil
        case .failure(let error): throw error
        case .done, .children, .part, .permissions, .transaction, .flag, .path: throw .inputOutput
        }
    }
}
