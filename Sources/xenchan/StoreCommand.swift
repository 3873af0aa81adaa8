// SPDX-License-Identifier: MIT

import XenChannelIO

/// `xenchan store`: a xenstore on a Unix socket.
struct StoreCommand {
    private static let topic = "store"
    private var path = ""
    private var file: String?

    init(_ arguments: Arguments) throws {
        var arguments = arguments
        while let word = arguments.next() {
            switch word {
            case "--socket": path = try arguments.value(of: word, in: StoreCommand.topic)
            case "--import": file = try arguments.value(of: word, in: StoreCommand.topic)
            default: throw arguments.unknown(word, in: StoreCommand.topic)
            }
        }
        guard !path.isEmpty else { throw UsageError(StoreCommand.topic, "--socket PATH is needed") }
    }

    func run() throws -> Int32 {
        let host = LiveHost()
        // Before the signals are kept for the loop: who types the tree ends that with Ctrl-C.
        if let file { try StoreCommand.load(file, into: host) }
        let reactor = try Reactor()
        let stopRequest = StopRequest(to: reactor.waker)
        stopRequest.makeAtSignals()
        let socket = try StoreSocket(path: path, of: host, on: reactor)
        socket.onReport = { Console.error("xenchan: \($0)") }
        reactor.addWork { [unowned reactor] in
            if stopRequest.isMade { reactor.stop() }
            return false
        }
        Console.print("listening  \(path)")
        reactor.run()
        socket.close()
        return ExitCode.success
    }

    private static func load(_ file: String, into host: LiveHost) throws {
        guard let text = String(validating: try Files.read(file), as: UTF8.self) else {
            throw SystemError("read", file, detail: "is not text in UTF-8")
        }
        do {
            try host.importStore(text)
        } catch {
            throw SystemError("import", file, detail: "\(error)")
        }
    }
}
