// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenExploration
import XenInterface

struct StoreTextTests {
    @Test(arguments: ["0", "7", "65535", "007"])
    func `digits are a number (B34)`(text: String) {
        #expect(StoreValue(text).decimal(UInt16.self) == UInt16(text))
    }

    @Test(arguments: [
        "", "+1", "-1", "1:", "/1", " 1", "1 ", "1\n", "0x10", "65536", "99999999999999999999", "1\u{0}", "١",
    ])
    func `a sign, a blank, another base and an overflow are none`(text: String) {
        #expect(StoreValue(text).decimal(UInt16.self) == nil)
    }

    @Test func `a value is shown on one line, whoever wrote it`() {
        #expect(StoreValue("/local/domain/0 \u{7E}").description == "\"/local/domain/0 ~\"")
        #expect(StoreValue("4\n\u{1B}[2J\"\\\0").description == #""4\x0a\x1b[2J\"\\\x00""#)
        #expect(StoreValue([0xFF, 0xC3, 0xA4, 0x7F]).description == #""\xff\xc3\xa4\x7f""#)
        #expect(StoreValue(String(repeating: "a", count: 128)).description.utf8.count == 130)
        let long = StoreValue([UInt8](repeating: 0, count: 2000)).description
        #expect(long == "\"" + String(repeating: "\\x00", count: 128) + "\"... (2000 bytes)")
    }

    @Test func `every number comes back from its decimal text`() {
        checkProperty(cases: 300) { choices in
            let number = choices.integer(in: UInt32.min...UInt32.max, corners: [0, 1, .max])
            try require(StoreValue(decimal: number).decimal(UInt32.self) == number, "\(number)")
            try require(
                StoreValue(decimal: UInt64(number) + 1 + UInt64(UInt32.max)).decimal(UInt32.self) == nil,
                "over"
            )
        }
    }

    @Test(arguments: ["/", "/a", "/local/domain/1/device", "device/console", "@releaseDomain", "/a@b_c-D9"])
    func `a path follows the rules of D7`(text: String) {
        #expect(StorePath(text)?.text == text)
    }

    @Test(arguments: ["", "//", "/a/", "/a//b", "a b", "/a.b", "/ä", "/a\u{0}", "/a\n"])
    func `what breaks the rules of D7 is no path`(text: String) {
        #expect(StorePath(text) == nil)
    }

    @Test func `paths are taken apart and put together`() throws {
        let node = StorePath.domain(DomainID(3)).appending("device/console").appending(DeviceID(10))
        #expect(node.text == "/local/domain/3/device/console/10")
        #expect(node.lastComponent == "10")
        #expect(node.parent?.text == "/local/domain/3/device/console")
        #expect(node.relative(to: .domain(DomainID(3)))?.text == "device/console/10")
        #expect(node.relative(to: .domain(DomainID(30))) == nil)
        #expect(node.relative(to: node) == nil)
        #expect(StorePath("/a")?.parent == .root)
        #expect(StorePath.root.parent == nil)
        #expect(StorePath.root.appending("a").text == "/a")
        #expect(node.sibling("7").text == "/local/domain/3/device/console/7")
        #expect(StorePath("/a")?.sibling("b").text == "/b")
    }

    @Test func `what is no relative path is appended to nothing (D7)`() async {
        await #expect(processExitsWith: .failure) { _ = StorePath.root.appending("/a") }
        await #expect(processExitsWith: .failure) { _ = StorePath.root.appending("a//b") }
        await #expect(processExitsWith: .failure) { _ = StorePath.root.appending("") }
    }

    @Test(arguments: [
        ("/a/b", "/a", true), ("/a/b/c", "/a", true), ("/a", "/", true), ("/a", "/a", false), ("/ab", "/a", false),
        ("/b/a", "/a", false), ("/a/b", "/a/b", false), ("/", "/", false), ("/a", "/a/b", false),
        ("/ab/c", "/a", false),
    ])
    func `a node lies below its ancestors only`(node: String, ancestor: String, isBelow: Bool) throws {
        let node = try #require(StorePath(node))
        let ancestor = try #require(StorePath(ancestor))
        #expect(node.isBelow(ancestor) == isBelow)
        #expect((node.relative(to: ancestor) != nil) == isBelow)
        #expect(node.isBelow(directoryOf: ancestor.appending("state")) == isBelow)
    }

    @Test func `the first matching entry of a permission list counts, the owner may do all (D6, D10)`() {
        let list = StorePermissions(
            owner: DomainID(1),
            others: .read,
            [.init(DomainID(2), .none), .init(DomainID(2), .both), .init(DomainID(3), .write)]
        )
        #expect(list.access(of: DomainID(1)) == .both)
        #expect(list.access(of: DomainID(2)) == StoreAccess.none)
        #expect(list.access(of: DomainID(3)) == .write)
        #expect(list.access(of: DomainID(4)) == .read)
        #expect(list.description == "r1,n2,b2,w3")
    }

    @Test(arguments: [
        (StoreAccess.none, false, false), (.read, true, false), (.write, false, true), (.both, true, true),
    ])
    func `a letter allows to read, to write, both or neither (D6)`(access: StoreAccess, reads: Bool, writes: Bool) {
        #expect(access.canRead == reads && access.canWrite == writes)
    }

    @Test(arguments: ["n0", "r1", "w32752", "b65535"])
    func `a permission entry is a letter and a number (D6)`(text: String) {
        #expect(StorePermissions.Entry(wire: text)?.description == text)
    }

    @Test(arguments: ["", "n", "x1", "r-1", "r 1", "r65536", "1r"])
    func `anything else is no permission entry`(text: String) {
        #expect(StorePermissions.Entry(wire: text) == nil)
    }

    @Test func `a state is the number of the header, and nothing above 8 (B13)`() {
        for state in XenbusState.allCases { #expect(XenbusState(storeValue: state.storeValue) == state) }
        #expect(XenbusState.connected.storeValue == "4" && XenbusState.closing.storeValue == "5")
        for text: StoreValue in ["9", "", "-1", "4 ", "four"] { #expect(XenbusState(storeValue: text) == nil) }
    }
}
