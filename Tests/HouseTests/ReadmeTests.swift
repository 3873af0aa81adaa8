// SPDX-License-Identifier: MIT

import Foundation
import TestSupport
import Testing

struct ReadmeTests {
    @Test func `every Swift example of the README is in the importer, where it is built and run`() throws {
        let readme = try String(contentsOf: Fixture.root.appending(path: "README.md"), encoding: .utf8)
        let folder = Fixture.root.appending(path: "Tests/Importer/Sources/Importer")
        let sources = try FileManager.default.contentsOfDirectory(atPath: folder.path())
            .map { try String(contentsOf: folder.appending(path: $0), encoding: .utf8) }
        let blocks = readme.components(separatedBy: "```swift\n").dropFirst()
            .map { $0.components(separatedBy: "```")[0] }
            .filter { !$0.contains("Package.swift") }
        #expect(blocks.count >= 5)
        for block in blocks {
            #expect(sources.contains { $0.contains(block) }, "not in the importer:\n\(block)")
        }
    }

    @Test func `the importer uses every product`() throws {
        let manifest = try String(
            contentsOf: Fixture.root.appending(path: "Tests/Importer/Package.swift"),
            encoding: .utf8
        )
        for module in try FileManager.default.contentsOfDirectory(
            atPath: Fixture.root.appending(path: "Sources").path()
        ) where module != "xenchan" {
            #expect(manifest.contains("\"\(module)\""), "\(module)")
        }
    }

    @Test func `every source file begins with its licence`() throws {
        for folder in ["Sources", "Tests", "Benchmarks"] {
            let root = Fixture.root.appending(path: folder)
            for file in try FileManager.default.subpathsOfDirectory(atPath: root.path())
            where file.hasSuffix(".swift") && !file.contains(".build") {
                let text = try String(contentsOf: root.appending(path: file), encoding: .utf8)
                #expect(text.prefix(200).contains("// SPDX-License-Identifier: MIT"), "\(folder)/\(file)")
            }
        }
    }

    @Test func `the top level is what was fixed`() throws {
        let names = try FileManager.default.contentsOfDirectory(atPath: Fixture.root.path())
            .filter { !$0.hasPrefix(".") && $0 != "Package.resolved" }
        #expect(
            Set(names) == ["Package.swift", "Sources", "Tests", "Benchmarks", "Fixtures", "README.md"]
        )
    }
}
