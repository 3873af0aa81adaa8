// SPDX-License-Identifier: MIT

import Foundation
import XenBus
import XenChannelIO
import XenChannels
import XenInterface

/// `xenchan run`: a world in one process, with real sockets and terminals outside.
struct RunCommand {
    private static let topic = "run"
    private var channels: [ChannelConfiguration] = []
    private var agents: [String: AgentKind] = [:]
    private var console: AgentKind?
    private var storePath: String?
    private var isJSON = false
    private var services: [String: ChannelService] = [:]

    init(_ arguments: Arguments) throws {
        var arguments = arguments
        var given: Set<String> = []
        var specifications: [ChannelSpecification] = []
        /// Takes `NAME=VALUE` apart; each name once.
        func named(_ option: String) throws -> (name: String, kind: String) {
            let text = try arguments.value(of: option, in: RunCommand.topic, repeats: true)
            let (name, kind) = try RunCommand.named(text, option)
            guard given.insert("\(option) \(name)").inserted else {
                throw UsageError(RunCommand.topic, "\(option) is given more than once for \(name)")
            }
            return (name, kind)
        }
        while let word = arguments.next() {
            switch word {
            case "--channel":
                let text = try arguments.value(of: word, in: RunCommand.topic, repeats: true)
                specifications.append(try RunCommand.specification(text))
            case "--agent":
                let (name, kind) = try named(word)
                agents[name] = try RunCommand.agent(kind, of: word)
            case "--console":
                console = try RunCommand.agent(arguments.value(of: word, in: RunCommand.topic), of: word)
            case "--overflow":
                let (name, policy) = try named(word)
                services[name, default: ChannelService()].overflow = try RunCommand.overflow(policy)
            case "--durability":
                let (name, kind) = try named(word)
                services[name, default: ChannelService()].durability = try RunCommand.durability(kind)
            case "--store":
                storePath = try arguments.value(of: word, in: RunCommand.topic)
            case "--json":
                isJSON = true
            default:
                throw arguments.unknown(word, in: RunCommand.topic)
            }
        }
        guard !specifications.isEmpty || console != nil else {
            throw UsageError(RunCommand.topic, "at least one --channel is needed, or --console")
        }
        do {
            channels = try ChannelConfiguration.list(specifications)
        } catch {
            throw UsageError(RunCommand.topic, error.description)
        }
        try check()
    }

    private static func specification(_ text: String) throws -> ChannelSpecification {
        let parsed = ChannelSpecification.parse(text)
        for warning in parsed.warnings { Console.error("xenchan: \(warning)") }
        do {
            return try parsed.result.get()
        } catch {
            throw UsageError(topic, "--channel '\(text)': \(error)")
        }
    }

    /// Takes `NAME=VALUE` apart.
    private static func named(_ text: String, _ option: String) throws -> (name: String, kind: String) {
        guard let equals = text.firstIndex(of: "="), equals != text.startIndex else {
            throw UsageError(topic, "\(option) takes NAME=VALUE, not '\(text)'")
        }
        return (String(text[..<equals]), String(text[text.index(after: equals)...]))
    }

    private static func agent(_ kind: String, of option: String) throws -> AgentKind {
        switch kind {
        case "echo": return .echo
        case "discard": return .discard
        case "pty": return .terminal
        default:
            if let command = command(in: kind, behind: "exec:") { return .program(command) }
            if let command = command(in: kind, behind: "respawn:") { return .service(command) }
            throw UsageError(
                topic,
                "\(option): an agent is echo, discard, pty, exec:COMMAND or respawn:COMMAND, not '\(kind)'"
            )
        }
    }

    private static func command(in kind: String, behind prefix: String) -> String? {
        kind.hasPrefix(prefix) && kind.count > prefix.count ? String(kind.dropFirst(prefix.count)) : nil
    }

    private static func overflow(_ text: String) throws -> OverflowPolicy {
        switch text {
        case "block": return .blockForever
        case "drop": return .dropMiddle(.xenconsoled)
        case "disconnect": return .disconnect
        default: break
        }
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        if parts.count == 3, parts[0] == "block", let seconds = UInt32(parts[1]) {
            switch parts[2] {
            case "drop": return .block(deadline: .seconds(Int(seconds)), then: .dropMiddle(.xenconsoled))
            case "disconnect": return .block(deadline: .seconds(Int(seconds)), then: .disconnect)
            default: break
            }
        }
        throw UsageError(
            topic,
            "an overflow policy is block, block:SECONDS:drop, block:SECONDS:disconnect, drop or disconnect, not '\(text)'"
        )
    }

    private static func durability(_ text: String) throws -> ChannelDurability {
        switch text {
        case "backlog": return .backlog
        case "ring": return .ring
        default: throw UsageError(topic, "a durability is backlog or ring, not '\(text)'")
        }
    }

    /// What each channel allows and all of them together do not.
    private func check() throws {
        let names = channels.map(\.name)
        if let unknown = (agents.keys.sorted() + services.keys.sorted()).first(where: { !names.contains($0) }) {
            throw UsageError(
                RunCommand.topic,
                "\(unknown): no channel has that name; there is \(names.joined(separator: ", "))"
            )
        }
        if let twice = names.repeated {
            throw UsageError(RunCommand.topic, "two channels are named \(twice)")
        }
        let paths = channels.compactMap { if case .socket(let path) = $0.connection { path } else { nil } }
        if let twice = (paths + [storePath].compactMap(\.self)).repeated {
            throw UsageError(RunCommand.topic, "two sockets are to be at \(twice)")
        }
        if let channel = channels.first(where: { $0.backend != .dom0 }) {
            throw UsageError(
                RunCommand.topic,
                "channel \(channel.device): backend \(channel.backend): this world has domain 0 only"
            )
        }
        for channel in channels where !channel.isUsableByLinux {
            Console.error("xenchan: warning: a Linux guest cannot use device \(channel.device), only 1 to 9")
        }
    }

    func run() throws -> Int32 {
        let world = try RunWorld(
            channels: channels,
            agents: agents,
            console: console,
            services: services,
            storePath: storePath,
            isJSON: isJSON
        )
        return world.run()
    }
}

extension [String] {
    /// The first that is there twice.
    fileprivate var repeated: String? {
        first { text in count { $0 == text } > 1 }
    }
}
