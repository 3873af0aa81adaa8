// SPDX-License-Identifier: MIT

import Foundation
import TestSupport
import Testing

/// The floors of the house: what each module may import. `Package.swift` enforces it for the project's own modules at link
/// time only; this reads the lines, for the system's modules as well.
private let floors: [String: Set<String>] = [
    "XenRing": ["Synchronization"],
    "XenExploration": [],
    "XenInterface": [],
    "XenBus": ["XenInterface"],
    "XenStore": ["XenInterface", "XenRing"],
    "XenHypervisor": ["XenInterface"],
    "XenChannels": ["XenBus", "XenInterface", "XenRing"],
    "XenRingChecker": ["XenExploration", "XenRing"],
    "XenSimulator": [
        "XenBus", "XenChannels", "XenExploration", "XenHypervisor", "XenInterface", "XenRing", "XenStore",
    ],
    "XenChannelIO": [
        "Glibc", "Synchronization", "XenBus", "XenChannels", "XenHypervisor", "XenInterface", "XenRing", "XenStore",
    ],
]

/// Words that floors 1 to 4 do without: time, threads and randomness come from the world above.
private let forbiddenBelowWorlds = [
    "async ", "await ", "Task {", "Clock", "random(", "SystemRandomNumberGenerator", "shuffled()", "@_silgen_name",
]

struct ImportTests {
    @Test(arguments: floors.keys.sorted())
    func `a module imports only what stands below it`(module: String) throws {
        let allowed = try #require(floors[module])
        for (file, line) in try lines(of: module) {
            guard let imported = importedModule(line) else { continue }
            #expect(allowed.contains(imported), "\(file) imports \(imported)")
        }
    }

    @Test(arguments: floors.keys.filter { $0 != "XenChannelIO" }.sorted())
    func `below the worlds there is no clock, no task and no randomness of its own`(module: String) throws {
        for (file, line) in try lines(of: module) where !line.trimmingPrefix(while: \.isWhitespace).hasPrefix("//") {
            for word in forbiddenBelowWorlds {
                #expect(!line.contains(word), "\(file): \(line)")
            }
        }
    }

    @Test func `every module of Sources stands on a floor`() throws {
        let folders = try FileManager.default.contentsOfDirectory(
            atPath: Fixture.root.appending(path: "Sources").path()
        )
        #expect(Set(folders) == Set(floors.keys).union(["xenchan"]))
    }

    @Test func `the reader of import lines sees every spelling`() {
        #expect(importedModule("import XenRing") == "XenRing")
        #expect(importedModule("    @preconcurrency public import Glibc  // why") == "Glibc")
        #expect(importedModule("package import struct XenRing.RingIndex") == "XenRing")
        #expect(importedModule("// import XenRing") == nil)
        #expect(importedModule("let important = 1") == nil)
    }
}

private func lines(of module: String) throws -> [(file: String, line: String)] {
    let folder = Fixture.root.appending(path: "Sources/\(module)")
    let files = try FileManager.default.subpathsOfDirectory(atPath: folder.path()).filter { $0.hasSuffix(".swift") }
    #expect(!files.isEmpty)
    return try files.flatMap { file in
        try String(contentsOf: folder.appending(path: file), encoding: .utf8)
            .split(separator: "\n").map { ("\(module)/\(file)", String($0)) }
    }
}

private func importedModule(_ line: String) -> String? {
    let words = line.split(whereSeparator: \.isWhitespace)
    guard let position = words.firstIndex(of: "import"), position + 1 < words.count else { return nil }
    let modifiers = words[..<position]
    let known: Set<Substring> = ["public", "package", "internal", "private", "fileprivate"]
    guard modifiers.allSatisfy({ known.contains($0) || $0.hasPrefix("@") }) else { return nil }
    let kinds: Set<Substring> = ["struct", "class", "enum", "protocol", "func", "var", "let", "typealias"]
    let name = kinds.contains(words[position + 1]) ? words.dropFirst(position + 2).first : words[position + 1]
    return name.flatMap { $0.split(separator: ".").first.map(String.init) }
}
