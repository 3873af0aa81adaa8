// SPDX-License-Identifier: MIT

import Foundation

/// The folder of this run's sockets and programs, which goes with the run.
enum Scratch {
    private static let folder = FileManager.default.temporaryDirectory.appending(path: "bench-\(getpid())").path()
    nonisolated(unsafe) private static var interruptions: [any DispatchSourceSignal] = []

    /// Makes the folder; an interrupted run takes it away as well.
    static func open() throws {
        for number in [SIGINT, SIGTERM, SIGHUP] {
            let isIgnored = signal(number, SIG_IGN).map { unsafe unsafeBitCast($0, to: Int.self) } == 1
            // Under nohup it goes on.
            if number == SIGHUP, isIgnored { continue }
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler {
                close()
                exit(128 + number)
            }
            source.resume()
            unsafe interruptions.append(source)
        }
        // Not before: whoever sees the folder may interrupt.
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        // What a compiler leaves when it is interrupted goes as well.
        unsafe setenv("TMPDIR", folder, 1)
    }

    /// Takes away what there is, and ends the program that is waited for.
    static func close() {
        unsafe Shell.running?.terminate()
        // Another thread may put something there meanwhile.
        for _ in 0..<100 where FileManager.default.fileExists(atPath: folder) {
            try? FileManager.default.removeItem(atPath: folder)
        }
    }

    /// A path that nobody has used, short enough for a socket.
    static func path(_ name: String) -> String {
        "\(folder)/\(name)-\(UUID().uuidString.prefix(8))"
    }
}

/// Other programs, found as a shell finds them.
enum Shell {
    nonisolated(unsafe) fileprivate static var running: Process?

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
            unsafe running = process
            defer { unsafe running = nil }
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
