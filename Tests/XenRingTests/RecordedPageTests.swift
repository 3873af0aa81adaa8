// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenRing

/// One line of `rings.jsonl`: what the recorder saw in a page.
struct RecordedPage: Decodable, Sendable {
    let file: String
    let in_cons: UInt32
    let in_prod: UInt32
    let out_cons: UInt32
    let out_prod: UInt32
    let in_queued: Int
    let out_queued: Int
    let off_in_cons: Int

    static func all() throws -> [RecordedPage] {
        try Fixture("rings/rings.jsonl").jsonLines()
    }
}

struct RecordedPageTests {
    @Test func `every page of a real guest is read as its recorder read it`() throws {
        let pages = try RecordedPage.all()
        #expect(pages.count == 17)
        for recorded in pages {
            let memory = SpyMemory(try Fixture("rings/\(recorded.file)").bytes())
            #expect(memory.page.count == SharedPage.size)
            #expect(recorded.off_in_cons == RingLayout.consoleIn.consumerIndex)
            var frontend = try ConsoleRing(attaching: memory, as: .frontend)
            var backend = try ConsoleRing(attaching: memory, as: .backend)
            let indices = [frontend.input.index, backend.output.index, backend.input.index, frontend.output.index]
            #expect(
                indices.map(\.rawValue) == [recorded.in_cons, recorded.in_prod, recorded.out_cons, recorded.out_prod]
            )
            let queued = [try frontend.input.count(), try backend.input.count()]
            #expect(queued == [recorded.in_queued, recorded.out_queued], "\(recorded.file)")
            let free = [try backend.output.freeCapacity(), try frontend.output.freeCapacity()]
            #expect(free == [1024 - recorded.in_queued, 2048 - recorded.out_queued], "\(recorded.file)")
            #expect(frontend.connection == .connected)
        }
    }

    @Test func `the bytes that waited for the guest`() throws {
        #expect(try waiting(in: "rings/ring-b-in16-chan1.bin", for: .frontend) == Array("hello-from-dom0\n".utf8))
        let full = try waiting(in: "rings/ring-b2-in-full-chan1.bin", for: .frontend)
        #expect(full == Array("hello-from-dom0\n".utf8) + Array(repeating: UInt8(ascii: "B"), count: 1008))
    }

    @Test func `a full ring from a stopped backend, across its end`() throws {
        let lines = (0..<500).map { "line " + String("0000\($0)".suffix(4)) + "\n" }.joined()
        let queued = try waiting(in: "rings/ring-e-out-full-chan1.bin", for: .backend)
        #expect(queued == Array(lines.utf8.prefix(2048)))
    }

    private func waiting(in path: String, for role: ConsoleRole) throws -> [UInt8] {
        let memory = SpyMemory(try Fixture(path).bytes())
        var ring = try ConsoleRing(attaching: memory, as: role)
        return try [UInt8](capacity: 4096) { _ = try ring.input.read(appendingTo: &$0) }
    }
}
