// SPDX-License-Identifier: MIT

import Foundation
import Glibc

/// The words of the command line.
struct Options {
    struct Wrong: Error, CustomStringConvertible {
        let description: String
    }

    var filter: String?
    var isQuick = false
    var insistsOnGoals = false
    var wantsHelp = false
    private var json: String?
    private var compare: String?
    private var svg: String?
    /// What `--compare` named.
    private var earlier: [Measurement] = []

    mutating func parse(_ words: [String]) throws {
        var words = words[...]
        func value(of option: String) throws -> String {
            guard let value = words.popFirst(), !value.isEmpty else {
                throw Wrong(description: "\(option) needs a value")
            }
            return value
        }
        while let word = words.popFirst() {
            switch word {
            case "--quick": isQuick = true
            case "--goals": insistsOnGoals = true
            case "--help", "-h": wantsHelp = true
            case "--json": json = try value(of: word)
            case "--compare": compare = try value(of: word)
            case "--svg": svg = try value(of: word)
            default:
                guard !word.hasPrefix("-"), !word.isEmpty, filter == nil else {
                    throw Wrong(description: "what is '\(word)'?")
                }
                filter = word
            }
        }
    }

    /// Finds out before anything is measured what could not be read or written after it.
    mutating func prepare() throws {
        if let compare {
            do {
                earlier = try JSONDecoder().decode([Measurement].self, from: Data(contentsOf: URL(filePath: compare)))
            } catch {
                throw Wrong(description: "--compare \(compare): \(Options.reason(error))")
            }
        }
        if let svg {
            do {
                try FileManager.default.createDirectory(atPath: svg, withIntermediateDirectories: true)
            } catch {
                throw Wrong(description: "--svg \(svg): \(Options.reason(error))")
            }
        }
        if let json, let reason = Options.whyUnwritable(json) { throw Wrong(description: "--json \(json): \(reason)") }
    }

    private static func reason(_ error: any Error) -> String {
        let underlying = (error as NSError).userInfo[NSUnderlyingErrorKey] as? NSError
        return underlying?.localizedFailureReason ?? (error as NSError).localizedFailureReason ?? "\(error)"
    }

    /// Why a file cannot be made or written, as far as that can be seen without doing so; nil if it can.
    private static func whyUnwritable(_ path: String) -> String? {
        var status = stat()
        if unsafe stat(path, &status) == 0 {
            if status.st_mode & S_IFMT == S_IFDIR { return unsafe String(cString: strerror(EISDIR)) }
            return unsafe access(path, W_OK) == 0 ? nil : String(cString: strerror(errno))
        }
        let folder = URL(filePath: path).deletingLastPathComponent().path(percentEncoded: false)
        return unsafe access(folder, W_OK | X_OK) == 0 ? nil : String(cString: strerror(errno))
    }

    private static func write(_ data: Data, to file: URL) throws(Wrong) {
        do {
            try data.write(to: file)
        } catch {
            throw Wrong(description: "\(file.path(percentEncoded: false)): \(reason(error))")
        }
    }

    /// Saves and compares; returns whether something got slower.
    func save(_ report: Report) throws -> Bool {
        try json.map { try Options.write(report.json, to: URL(filePath: $0)) }
        try svg.map { try Options.write(Data(report.svg().utf8), to: URL(filePath: $0).appending(path: "ratios.svg")) }
        let regressions = report.regressions(since: earlier)
        regressions.forEach(Main.say)
        return !regressions.isEmpty
    }
}
