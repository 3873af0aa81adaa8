// SPDX-License-Identifier: MIT

import Foundation

/// The folder of this run's sockets and programs, which goes with the run.
enum Scratch {
    private static let folder = FileManager.default.temporaryDirectory.appending(path: "bench-\(getpid())").path()
    nonisolated(unsafe) private static let interruption =
        DispatchSource.makeSignalSource(signal: SIGINT, queue: .global())

    /// Makes the folder; an interrupted run takes it away as well.
    static func open() throws {
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        _ = signal(SIGINT, SIG_IGN)
        unsafe interruption.setEventHandler {
            close()
            exit(130)
        }
        unsafe interruption.resume()
    }

    static func close() {
        try? FileManager.default.removeItem(atPath: folder)
    }

    /// A path that nobody has used, short enough for a socket.
    static func path(_ name: String) -> String {
        "\(folder)/\(name)-\(UUID().uuidString.prefix(8))"
    }
}

/// Other programs, found as a shell finds them.
enum Shell {
    static func find(_ name: String) -> String? {
        let folders = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":")
        return folders.map { "\($0)/\(name)" }.first { FileManager.default.isExecutableFile(atPath: $0) }
    }

    /// Runs a program to its end, which must be a good one, and returns what it wrote.
    @discardableResult
    static func run(_ name: String, _ words: [String], input: String = "") -> String {
        let process = Process()
        let (toProgram, fromProgram) = (Pipe(), Pipe())
        process.executableURL = URL(filePath: name.hasPrefix("/") ? name : find(name) ?? name)
        process.arguments = words
        process.standardInput = toProgram
        process.standardOutput = fromProgram
        process.standardError = fromProgram
        do {
            try process.run()
            try toProgram.fileHandleForWriting.write(contentsOf: Data(input.utf8))
            try toProgram.fileHandleForWriting.close()
            let output = try fromProgram.fileHandleForReading.readToEnd() ?? Data()
            process.waitUntilExit()
            let text = String(decoding: output, as: UTF8.self)
            guard process.terminationStatus == 0 else { refuse("\(name) \(words): \(text)") }
            return text
        } catch {
            refuse("\(name) \(words): \(error)")
        }
    }
}
