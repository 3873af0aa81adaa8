// SPDX-License-Identifier: MIT

import Glibc
import XenStore

// Compares `StoreServer` with a real xenstored: the same random requests to both, from several sockets and guests,
// transactions and watches interleaved, messages in pieces. Prints the first difference, with as few steps as show it.
//
//     swift run StoreDifferential [--socket PATH] [--rings DIRECTORY] [--seed N] [--sequences N] [--steps N]
//
// PATH is by default $XENSTORED_PATH. DIRECTORY is where a daemon that runs without Xen keeps its guests' pages as files;
// without it there are sockets only. Exit codes: 0 no difference, 1 a difference, 2 wrong usage or a daemon that fails.

struct Options {
    var socket = unsafe getenv("XENSTORED_PATH").map { unsafe String(cString: $0) } ?? ""
    var rings: String?
    var seed: UInt64 = 1
    var sequences = 100
    var steps = 50

    init?(_ arguments: [String]) {
        var rest = arguments.dropFirst()
        while let option = rest.popFirst() {
            guard let value = rest.popFirst() else { return nil }
            switch option {
            case "--socket": socket = value
            case "--rings": rings = value
            case "--seed": seed = UInt64(value) ?? seed
            case "--sequences": sequences = Int(value) ?? sequences
            case "--steps": steps = Int(value) ?? steps
            default: return nil
            }
        }
        if socket.isEmpty { return nil }
    }
}

func say(_ text: String) {
    print(text)
    fflush(nil)
}

/// Leaves out steps as long as a difference stays.
func shrink(_ steps: [Step], _ runner: Runner) throws -> ([Step], Difference?) {
    var steps = steps
    var found = try runner.run(steps)
    var size = max(1, steps.count / 2)
    while size > 0 {
        var start = 0
        while start < steps.count {
            var fewer = steps
            fewer.removeSubrange(start..<min(start + size, steps.count))
            if let difference = try runner.run(fewer) {
                steps = Array(fewer.prefix(difference.step + 1))
                found = difference
            } else {
                start += size
            }
        }
        size /= 2
    }
    return (steps, found)
}

guard let options = Options(CommandLine.arguments) else {
    say("usage: StoreDifferential [--socket PATH] [--rings DIRECTORY] [--seed N] [--sequences N] [--steps N]")
    exit(2)
}
do {
    let runner = try Runner(socketPath: options.socket, ringDirectory: options.rings)
    for sequence in 0..<options.sequences {
        let seed = options.seed + UInt64(sequence)
        let guests: [UInt16] = options.rings == nil ? [] : [[], [1], [1, 2]][Int(seed % 3)]
        var maker = StepMaker(seed: seed, guests: guests)
        let steps = maker.steps(options.steps)
        var difference: Difference?
        do {
            difference = try runner.run(steps)
        } catch {
            say("seed \(seed): \(error)")
            exit(2)
        }
        if let difference {
            say("seed \(seed): \(difference)")
            let (fewer, shown) = try shrink(steps, runner)
            say("seed \(seed), \(fewer.count) steps:")
            for (index, step) in fewer.enumerated() { say("  \(index) \(step)") }
            say(shown?.description ?? "the difference does not show again")
            exit(1)
        }
        if sequence % 500 == 499 { say("\(sequence + 1) sequences, \(runner.compared) answers compared") }
    }
    say(
        "no difference in \(options.sequences) sequences of \(options.steps) steps, \(runner.compared) answers compared"
    )
} catch {
    say("\(error)")
    exit(2)
}
