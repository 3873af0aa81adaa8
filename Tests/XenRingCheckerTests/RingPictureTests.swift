// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenExploration
import XenRing
import XenRingChecker

struct RingPictureTests {
    private func recorded(_ name: String) throws -> RingPicture {
        RingPicture(try Fixture("rings/\(name).bin").bytes())
    }

    @Test func `a page in which the guest has not read yet`() throws {
        let picture = try recorded("ring-b-in16-chan1")
        #expect(picture.problems.isEmpty)
        #expect(
            picture.description == """
                in: backend → frontend, 16 of 1024 bytes wait
                  in_cons 0 (at 0)   in_prod 16 (at 16)
                  ┌────────────────────────────────────────────────────────────────┐ bytes 0 to 1023
                  │█·······························································│
                  └────────────────────────────────────────────────────────────────┘
                   CP                                                                C consumer  P producer
                      0  68 65 6c 6c 6f 2d 66 72 6f 6d 2d 64 6f 6d 30 0a  │hello-from-dom0.│

                out: frontend → backend, 0 of 2048 bytes wait, empty
                  out_cons 0 (at 1024)   out_prod 0 (at 1024)
                  ┌────────────────────────────────────────────────────────────────┐ bytes 1024 to 3071
                  │································································│
                  └────────────────────────────────────────────────────────────────┘
                   B                                                                 B both indices

                connection: 0 (connected)
                nothing is wrong with this page
                """
        )
    }

    @Test func `a full ring whose bytes wrap`() throws {
        let picture = try recorded("ring-e-out-full-chan1")
        #expect(picture.problems.isEmpty)
        #expect(picture.rings[1].queued.count == 2048)
        #expect(String(decoding: picture.rings[1].queued.prefix(10), as: UTF8.self) == "line 0000\n")
        let text = picture.text(limit: 32)
        #expect(text.contains("out: frontend → backend, 2048 of 2048 bytes wait, full"))
        #expect(text.contains("out_cons 1035 (at 2059)   out_prod 3083 (at 2059)"))
        #expect(text.contains("│" + String(repeating: "█", count: 64) + "│"))
        #expect(text.contains("      0  6c 69 6e 65 20 30 30 30 30 0a 6c 69 6e 65 20 30  │line 0000.line 0│"))
        #expect(text.contains("and 2016 more"))
    }

    @Test func `every recorded page is healthy and shows what its recorder saw`() throws {
        struct Recorded: Decodable {
            let file: String
            let inQueued: Int
            let outQueued: Int
            enum CodingKeys: String, CodingKey {
                case file
                case inQueued = "in_queued"
                case outQueued = "out_queued"
            }
        }
        let pages: [Recorded] = try Fixture("rings/rings.jsonl").jsonLines()
        for page in pages {
            let picture = RingPicture(try Fixture("rings/\(page.file)").bytes())
            #expect(picture.problems.isEmpty, "\(page.file)")
            #expect(picture.rings.map(\.queued.count) == [page.inQueued, page.outQueued])
            #expect(picture.description.hasSuffix("connection: 0 (connected)\nnothing is wrong with this page"))
        }
    }

    @Test func `what is wrong is said`() {
        func picture(_ change: (inout [UInt8]) -> Void) -> [String] {
            var page = Array(repeating: UInt8(0), count: 4096)
            change(&page)
            return RingPicture(page).problems
        }
        #expect(picture { $0[3076] = 1 }.isEmpty)
        #expect(
            picture { $0[3077] = 5 } == ["in_prod is 1280 ahead of in_cons, and the ring has 1024 bytes"]
        )
        #expect(picture { $0[3080] = 1 } == ["out_cons is 1 ahead of out_prod"])
        #expect(picture { $0[3088] = 1 }.isEmpty)
        #expect(
            picture { $0[3088] = 2 } == ["the connection byte is 2, which is neither 0 nor 1; it means connected"]
        )
        #expect(
            picture {
                $0[3089] = 1
                $0[4095] = 1
            } == ["2 bytes behind the connection byte are not zero, the first at 3089"]
        )
        #expect(picture { $0.removeLast() } == ["the page has 4095 bytes, not 4096"])
        #expect(picture { $0.append(0) } == ["the page has 4097 bytes, not 4096"])
        #expect(picture { $0 = [] } == ["the page has 0 bytes, not 4096"])
    }

    @Test func `a page that crossed 2^32 is drawn across it`() {
        var page = Array(repeating: UInt8(0), count: 4096)
        page[3080..<3084] = [0xFE, 0xFF, 0xFF, 0xFF]
        page[3084] = 2
        page[1024] = UInt8(ascii: "c")
        page[1025] = UInt8(ascii: "d")
        page[3070] = UInt8(ascii: "a")
        page[3071] = UInt8(ascii: "b")
        let picture = RingPicture(page)
        #expect(picture.problems.isEmpty)
        #expect(picture.rings[1].queued == Array("abcd".utf8))
        #expect(picture.description.contains("│█" + String(repeating: "·", count: 62) + "█│"))
        #expect(picture.description.contains("out_cons 4294967294 (at 3070)   out_prod 2 (at 1026)"))
    }

    @Test func `no page at all makes it trap, and no line is longer than a terminal`() {
        checkProperty(cases: 200) { choices in
            var page = Array(repeating: UInt8(0), count: choices.integer(in: 0...4200, corners: [0, 3089, 4096]))
            for _ in 0..<choices.choose(below: 30) where !page.isEmpty {
                let tail = max(0, page.count - 1100)..<page.count
                page[choices.integer(in: tail)] = UInt8(choices.choose(below: 256))
            }
            let lines = RingPicture(page).description.split(separator: "\n", omittingEmptySubsequences: false)
            try require(lines.count > 10, "\(lines.count) lines")
            for line in lines where line.count > 100 { throw PropertyViolation("\(line.count) columns: \(line)") }
        }
    }
}
