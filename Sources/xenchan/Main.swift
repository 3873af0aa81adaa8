// SPDX-License-Identifier: MIT

import Glibc

/// `xenchan`: how a person meets the project. Results go to standard output, everything else to standard error.
@main
enum Main {
    static func main() {
        var words = Array(CommandLine.arguments.dropFirst())
        guard !words.isEmpty else {
            Console.error(Help.overview)
            exit(ExitCode.usage)
        }
        let command = words.removeFirst()
        do {
            let code = try run(command, Arguments(words))
            if let loss = Console.loss {
                Console.error("xenchan: standard output: \(loss)")
                exit(ExitCode.failure)
            }
            exit(code)
        } catch let error as UsageError {
            Console.error("xenchan: \(error.text)")
            Console.error("Try 'xenchan \(error.topic.isEmpty ? "help" : error.topic + " --help")'.")
            exit(ExitCode.usage)
        } catch {
            Console.error("xenchan: \(error)")
            exit(ExitCode.failure)
        }
    }

    private static func run(_ command: String, _ arguments: Arguments) throws -> Int32 {
        if let help = Help.texts[command], arguments.words.contains("--help") || arguments.words.contains("-h") {
            Console.print(help)
            return ExitCode.success
        }
        switch command {
        case "run": return try RunCommand(arguments).run()
        case "list": return try ListCommand(arguments).run()
        case "store": return try StoreCommand(arguments).run()
        case "simulate": return try SimulateCommand(arguments).run()
        case "replay": return try ReplayCommand(arguments).run()
        case "ring": return try RingCommand(arguments).run()
        case "check": return try CheckCommand(arguments).run()
        case "help", "--help", "-h":
            let topic = arguments.words.first
            Console.print(topic.flatMap { Help.texts[$0] } ?? Help.overview)
            return ExitCode.success
        default:
            throw UsageError("", "there is no command '\(command)'")
        }
    }
}

/// What the program ends with.
enum ExitCode {
    /// Done.
    static let success: Int32 = 0
    /// A property failed, or the system did not do what was asked.
    static let failure: Int32 = 1
    /// The words of the command line are wrong.
    static let usage: Int32 = 2
}
