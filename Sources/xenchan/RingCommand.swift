// SPDX-License-Identifier: MIT

import XenRingChecker

/// `xenchan ring`: a console page as a person would draw it, and what is wrong with it.
struct RingCommand {
    private static let topic = "ring"
    private var file: String?
    private var limit = 256

    init(_ arguments: Arguments) throws {
        var arguments = arguments
        while let word = arguments.next() {
            switch word {
            case "--bytes":
                limit = try arguments.number(of: word, in: RingCommand.topic, 0...Int.max)
            default:
                guard word == "-" || !word.hasPrefix("-"), !word.isEmpty, file == nil else {
                    throw arguments.unknown(word, in: RingCommand.topic)
                }
                file = word
            }
        }
    }

    /// Exit code 1 says that something is wrong with the page.
    func run() throws -> Int32 {
        // A little more of a file that is longer, so that it is seen to be.
        let picture = RingPicture(try Files.read(file ?? "-", upTo: 8192))
        Console.print(picture.text(limit: limit))
        return picture.problems.isEmpty ? ExitCode.success : ExitCode.failure
    }
}
