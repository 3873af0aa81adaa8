// SPDX-License-Identifier: MIT

import XenBus
import XenChannelIO
import XenChannels
import XenInterface

/// `xenchan list`: the channels that a store knows of.
struct ListCommand {
    private static let topic = "list"
    private var domains: [DomainID] = []
    private var path = DefaultStore.path
    private var isJSON = false

    init(_ arguments: Arguments) throws {
        var arguments = arguments
        while let word = arguments.next() {
            switch word {
            case "--store": path = try arguments.value(of: word, in: ListCommand.topic)
            case "--json": isJSON = true
            default:
                guard !word.hasPrefix("-") else { throw arguments.unknown(word, in: ListCommand.topic) }
                guard let domain = DevicePaths.domain(named: word) else {
                    throw UsageError(ListCommand.topic, "'\(word)' is no domain's number, 0 to 32751")
                }
                domains.append(domain)
            }
        }
    }

    func run() throws -> Int32 {
        var store = try connect()
        var rows: [(domain: DomainID, channel: ChannelInfo)] = []
        for domain in try domains.isEmpty ? allDomains(in: store) : domains {
            rows += try ChannelListing(of: domain, readingFrom: &store).channels.map { (domain, $0) }
        }
        if isJSON {
            for row in rows { try Console.print(json: ChannelRow(row.domain, row.channel)) }
        } else {
            Console.print(String(ChannelListing(rows.map(\.channel)).text.dropLast()))
        }
        return ExitCode.success
    }

    private func connect() throws -> StoreSocketConnection {
        do {
            return try StoreSocketConnection(path: path)
        } catch {
            if path == DefaultStore.path {
                Console.error("xenchan: no world of 'xenchan run' is running; --store names another store")
            }
            throw error
        }
    }

    private func allDomains(in store: StoreSocketConnection) throws -> [DomainID] {
        guard let path = StorePath("/local/domain") else { return [] }
        switch store.perform(.directory(path)) {
        case .children(let names):
            return names.compactMap(DevicePaths.domain(named:)).sorted { $0.rawValue < $1.rawValue }
        case .failure(.noEntry): return []
        case .failure(let code): throw code
        case .done, .value, .part, .permissions, .transaction, .flag, .path: throw StoreErrorCode.inputOutput
        }
    }
}

/// A row for programs.
private struct ChannelRow: Encodable {
    let domid: UInt16
    let devid: UInt32
    let name: String
    let backend: UInt16
    let state: UInt8?
    let port: UInt32?
    let ringRef: UInt32?
    let connection: String
    let tty: String?

    init(_ domain: DomainID, _ channel: ChannelInfo) {
        domid = domain.rawValue
        devid = channel.device.rawValue
        name = channel.name
        backend = channel.backend.rawValue
        state = channel.state?.rawValue
        port = channel.port?.rawValue
        ringRef = channel.ringReference?.rawValue
        connection = channel.connection
        tty = channel.terminal
    }
}
