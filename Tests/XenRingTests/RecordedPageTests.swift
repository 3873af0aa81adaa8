// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenRing

/// One line of `rings.jsonl`: what the recorder saw in a page.
struct RecordedPage: Decodable, Sendable {
    let file: String
    let inCons: UInt32
    let inProd: UInt32
    let outCons: UInt32
    let outProd: UInt32
    let inQueued: Int
    let outQueued: Int
    let offInCons: Int

    enum CodingKeys: String, CodingKey {
        case file
        case inCons = "in_cons"
        case inProd = "in_prod"
        case outCons = "out_cons"
        case outProd = "out_prod"
        case inQueued = "in_queued"
        case outQueued = "out_queued"
        case offInCons = "off_in_cons"
    }

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
            #expect(recorded.offInCons == RingLayout.consoleIn.consumerIndex)
            var frontend = try ConsoleRing(attaching: memory, as: .frontend)
            var backend = try ConsoleRing(attaching: memory, as: .backend)
            let indices = [frontend.input.index, backend.output.index, backend.input.index, frontend.output.index]
            #expect(
                indices.map(\.rawValue) == [recorded.inCons, recorded.inProd, recorded.outCons, recorded.outProd]
            )
            let queued = [try frontend.input.count(), try backend.input.count()]
            #expect(queued == [recorded.inQueued, recorded.outQueued], "\(recorded.file)")
            let free = [try backend.output.freeCapacity(), try frontend.output.freeCapacity()]
            #expect(free == [1024 - recorded.inQueued, 2048 - recorded.outQueued], "\(recorded.file)")
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
