// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenExploration

@testable import XenStore

/// How much text the tree keeps for names that are gone.
struct TreeTextTests {
    /// How long the texts are of the entries that are there.
    private func used(_ tree: StoreTree) -> Int {
        tree.keys.reduce(0) { count, key in
            guard key.length > 0 else { return count }
            return count + Int(key.start.isWhole ? key.length : key.length - key.nameStart)
        }
    }

    @Test func `text that is not used is counted, and is never more than 4 KiB and half of all`() {
        checkProperty(cases: 30) { choices in
            var tree = StoreTree()
            var pinned: [String] = []
            for _ in 0..<choices.integer(in: 1...300) {
                if pinned.isEmpty || choices.chance(3, in: 5) {
                    let names = choices.array(count: 1...4) { choices in
                        String(repeating: choices.pick(from: ["a", "b"]), count: choices.pick(from: [1, 2, 150]))
                    }
                    let path = names.reduce("") { $0 + "/" + $1 }
                    tree.pin(tree.intern(path))
                    pinned.append(path)
                } else {
                    let path = pinned.remove(at: choices.choose(below: pinned.count))
                    guard let place = tree.find(path) else { throw PropertyViolation("\(path) is not there") }
                    tree.unpin(place)
                    try require(
                        tree.unusedText <= 4096 || tree.unusedText <= tree.text.count / 2,
                        "\(tree.unusedText) of \(tree.text.count) bytes are not used"
                    )
                }
                try requireEqual(tree.unusedText, tree.text.count - used(tree), "text that is not used")
            }
        }
    }
}
