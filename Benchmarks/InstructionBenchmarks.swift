// SPDX-License-Identifier: MIT

import Foundation

/// The instructions of a write and a read, which are the same in every run, against a ring in C that copies in bulk.
///
/// `valgrind` counts those of this program itself, started anew to do nothing else, and those of the C ring below, which
/// `clang` compiles. What a run costs besides is taken away by running twice.
enum InstructionBenchmarks {
    static let word = "--write-and-read"

    private static let goals: [(size: Int, goal: Goal?)] = [
        (1, .atMost(0.85)), (16, .atMost(0.85)), (64, .atMost(1.15)), (256, nil), (1024, .atMost(1.03)), (2048, nil),
    ]

    /// What this program does when it is counted: `--write-and-read SIZE COUNT`. False if it is not asked to.
    static func runIfCounted(_ words: [String]) -> Bool {
        guard words.count == 3, words[0] == word, let size = Int(words[1]), let count = Int(words[2]) else {
            return false
        }
        keep(RingBench(size: size).ours(count))
        return true
    }

    static func run(in suite: Suite) {
        guard suite.wants("ring/instructions/") else { return }
        guard let tools = Tools() else {
            return suite.skip("ring/instructions", Tools.needs)
        }
        for (size, goal) in goals where goal != nil || !suite.isQuick {
            let name = "ring/instructions/\(size)"
            guard suite.wants(name) else { continue }
            let ours = tools.count(tools.swift, [word, "\(size)"])
            let theirs = tools.count(tools.c, ["\(size)"])
            let ratio = ours / theirs
            suite.add(
                Measurement(
                    name: name,
                    value: ours,
                    unit: "instr",
                    ratio: ratio,
                    peer: "a bulk ring in C",
                    goal: goal?.text,
                    met: goal?.isMet(by: ratio)
                )
            )
        }
    }

    /// What a KiB of a stream and a short round trip cost on the whole path, the system's part aside.
    static func runPath(in suite: Suite) {
        guard suite.wants("path/instructions/") else { return }
        guard let tools = Tools() else { return suite.skip("path/instructions", Tools.needs) }
        let cases = [("a KiB of a stream", 65_536, 64.0, 200), ("a round trip of 64 bytes", 64, 1.0, 4000)]
        for (name, piece, unit, rounds) in cases {
            let words = [PathBenchmarks.word, "\(piece)"]
            let count = tools.count(tools.swift, words, from: rounds / 10, to: rounds)
            suite.add(Measurement("path/instructions/\(name)", count / unit, "instr"))
        }
    }

    /// The two programs to count, and what counts them.
    private struct Tools {
        let swift: String
        let c: String
        static let needs = "needs valgrind, clang and llvm-objcopy or objcopy"

        init?() {
            let objcopy = Shell.find("llvm-objcopy") ?? Shell.find("objcopy")
            guard let objcopy, let clang = Shell.find("clang"), Shell.find("valgrind") != nil,
                let own = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
            else { return nil }
            swift = Scratch.path("benchmarks")
            c = Scratch.path("ring")
            // valgrind does not understand all that Swift says for debuggers.
            Shell.run(objcopy, ["--strip-debug", own, swift])
            // The package manager has Swift keep frame pointers, which takes a register from both then.
            let options = ["-O2", "-fno-omit-frame-pointer", "-x", "c", "-", "-o", c]
            Shell.run(clang, options, input: InstructionBenchmarks.source)
        }

        /// The instructions of one round: the last word that the program is given is how many it does.
        func count(_ program: String, _ words: [String], from few: Int = 2000, to many: Int = 12_000) -> Double {
            let counts = [few, many].map { count in
                let tool = ["--tool=callgrind", "--vgdb=no", "--callgrind-out-file=/dev/null", program]
                let text = Shell.run("valgrind", tool + words + ["\(count)"])
                let number = text.components(separatedBy: "Collected : ").last?.prefix { $0.isNumber }
                guard let number, let instructions = Double(number) else { refuse("valgrind says: \(text)") }
                return instructions
            }
            return (counts[1] - counts[0]) / Double(many - few)
        }
    }

    /// Indices cached, `memcpy` in one piece or two, everything inlined.
    private static let source = """
        #include <stdatomic.h>
        #include <stdint.h>
        #include <stdlib.h>
        #include <string.h>

        #define CAPACITY 2048u
        #define DATA 1024
        #define CONSUMER 3080
        #define PRODUCER 3084

        struct end { char *page; uint32_t produced, consumed; };

        static inline _Atomic uint32_t *word(struct end *ring, int offset) {
            return (_Atomic uint32_t *)(ring->page + offset);
        }

        static inline int ring_write(struct end *ring, const char *bytes, uint32_t count, uint32_t *done) {
            uint32_t room = CAPACITY - (ring->produced - ring->consumed);
            if (room < count) {
                uint32_t peer = atomic_load_explicit(word(ring, CONSUMER), memory_order_acquire);
                if (ring->produced - peer > CAPACITY) return -1;
                ring->consumed = peer;
                room = CAPACITY - (ring->produced - peer);
            }
            if (count > room) count = room;
            if (count) {
                uint32_t position = ring->produced & (CAPACITY - 1), first = CAPACITY - position;
                if (count <= first) {
                    memcpy(ring->page + DATA + position, bytes, count);
                } else {
                    memcpy(ring->page + DATA + position, bytes, first);
                    memcpy(ring->page + DATA, bytes + first, count - first);
                }
                ring->produced += count;
                atomic_store_explicit(word(ring, PRODUCER), ring->produced, memory_order_release);
            }
            *done = count;
            return 0;
        }

        static inline int ring_read(struct end *ring, char *bytes, uint32_t count, uint32_t *done) {
            uint32_t there = ring->produced - ring->consumed;
            if (there < count) {
                uint32_t peer = atomic_load_explicit(word(ring, PRODUCER), memory_order_acquire);
                if (peer - ring->consumed > CAPACITY) return -1;
                ring->produced = peer;
                there = peer - ring->consumed;
            }
            if (count > there) count = there;
            if (count) {
                uint32_t position = ring->consumed & (CAPACITY - 1), first = CAPACITY - position;
                if (count <= first) {
                    memcpy(bytes, ring->page + DATA + position, count);
                } else {
                    memcpy(bytes, ring->page + DATA + position, first);
                    memcpy(bytes + first, ring->page + DATA, count - first);
                }
                ring->consumed += count;
                atomic_store_explicit(word(ring, CONSUMER), ring->consumed, memory_order_release);
            }
            *done = count;
            return 0;
        }

        __attribute__((noinline))
        static void pump(long count, const char *from, char *to, uint32_t size, struct end *out, struct end *in) {
            uint32_t done;
            for (long i = 0; i < count; i++) {
                ring_write(out, from, size, &done);
                ring_read(in, to, size, &done);
            }
        }

        int main(int argc, char **argv) {
            uint32_t size = atoi(argv[1]);
            char *page = aligned_alloc(4096, 4096), *from = malloc(size), *to = calloc(1, size);
            memset(page, 0, 4096);
            memset(from, 3, size);
            struct end out = {page}, in = {page};
            pump(atol(argv[2]), from, to, size, &out, &in);
            return memcmp(from, to, size) != 0;
        }
        """
}
