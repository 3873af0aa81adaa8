// SPDX-License-Identifier: MIT

import Glibc

/// `xenchan`: how a person meets the project. Results go to standard output, everything else to standard error.
@main
enum Main {
    static func main() {
        // A reader that has gone away is no reason to end without a word, or to leave a socket behind.
        signal(SIGPIPE, SIG_IGN)
        keepStandardDescriptors()
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

    /// Has a standard descriptor that was closed fail when it is used, and nothing else become it: lines would go to somebody's socket.
    private static func keepStandardDescriptors() {
        for descriptor in 0...Int32(2) where fcntl(descriptor, F_GETFD) < 0 {
            _ = unsafe open("/dev/null", descriptor == 0 ? O_WRONLY : O_RDONLY)
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
            if arguments.words.count > 1 { throw arguments.unknown(arguments.words[1], in: "") }
            guard let topic = arguments.words.first, topic != "help" else {
                Console.print(Help.overview)
                return ExitCode.success
            }
            guard let text = Help.texts[topic] else { throw noCommand(topic) }
            Console.print(text)
            return ExitCode.success
        default:
            throw noCommand(command)
        }
    }

    private static func noCommand(_ name: String) -> UsageError {
        UsageError("", "there is no command '\(name)'; there is \(Help.texts.keys.sorted().joined(separator: ", "))")
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
