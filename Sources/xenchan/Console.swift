// SPDX-License-Identifier: MIT

import Foundation
import Synchronization

/// Lines to a person: standard output for results, standard error for the rest; each line at once.
enum Console {
    static func print(_ text: String) {
        write(text + "\n", to: .standardOutput)
    }

    static func error(_ text: String) {
        write(text + "\n", to: .standardError)
    }

    /// A line on a terminal that the next one replaces; empty to take it away.
    static func progress(_ text: String) {
        write("\r\u{1B}[K" + text, to: .standardError)
    }

    /// One JSON object in a line, its keys in alphabetical order.
    static func print(json value: some Encodable) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        print(String(decoding: try encoder.encode(value), as: UTF8.self))
    }

    /// Why standard output did not take everything, if it did not: the results are not whole then.
    static var loss: String? { lost.withLock { $0 } }

    private static let lost = Mutex<String?>(nil)

    private static func write(_ text: String, to handle: FileHandle) {
        do {
            try handle.write(contentsOf: Data(text.utf8))
        } catch {
            let cause = (error as NSError).userInfo[NSUnderlyingErrorKey] as? NSError
            // A reader that has gone away, as in `xenchan list | head`, is no reason to fail.
            guard handle === FileHandle.standardOutput, cause?.code != Int(EPIPE) else { return }
            lost.withLock { $0 = cause?.localizedFailureReason ?? error.localizedDescription }
        }
    }
}
