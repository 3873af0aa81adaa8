// SPDX-License-Identifier: MIT

import Foundation
import XenRingChecker

/// `xenchan ring`: a console page as a person would draw it, and what is wrong with it.
struct RingCommand {
    private static let topic = "ring"
    private var file = "-"
    private var limit = 256

    init(_ arguments: Arguments) throws {
        var arguments = arguments
        while let word = arguments.next() {
            switch word {
            case "--bytes":
                let text = try arguments.value(of: word, in: RingCommand.topic)
                guard let number = Int(text), number >= 0 else {
                    throw UsageError(RingCommand.topic, "--bytes takes a number, not '\(text)'")
                }
                limit = number
            default:
                guard word == "-" || !word.hasPrefix("-"), file == "-" else {
                    throw arguments.unknown(word, in: RingCommand.topic)
                }
                file = word
            }
        }
    }

    /// Exit code 1 says that something is wrong with the page.
    func run() throws -> Int32 {
        let picture = RingPicture(try bytes())
        Console.print(picture.text(limit: limit))
        return picture.problems.isEmpty ? ExitCode.success : ExitCode.failure
    }

    /// The page, and a little more of a file that is longer, so that it is seen to be.
    private func bytes() throws -> [UInt8] {
        let handle = file == "-" ? FileHandle.standardInput : try FileHandle(forReadingFrom: URL(filePath: file))
        var bytes: [UInt8] = []
        while bytes.count < 8192, let more = try handle.read(upToCount: 8192 - bytes.count), !more.isEmpty {
            bytes += more
        }
        return bytes
    }
}
