// SPDX-License-Identifier: MIT

import Foundation
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
        guard !path.isEmpty else { throw UsageError(StoreCommand.topic, "--socket is needed") }
    }

    func run() throws -> Int32 {
        let reactor = try Reactor()
        let stopRequest = StopRequest(to: reactor.waker)
        stopRequest.makeAtSignals()
        let host = LiveHost()
        if let file { try host.importStore(StoreCommand.text(of: file)) }
        let socket = try StoreSocket(path: path, of: host, on: reactor)
        reactor.addWork { [unowned reactor] in
            if stopRequest.isMade { reactor.stop() }
            return false
        }
        Console.print("listening  \(path)")
        reactor.run()
        socket.close()
        return ExitCode.success
    }

    private static func text(of file: String) throws -> String {
        if file == "-" {
            return String(decoding: FileHandle.standardInput.readDataToEndOfFile(), as: UTF8.self)
        }
        return try String(contentsOf: URL(filePath: file), encoding: .utf8)
    }
}
