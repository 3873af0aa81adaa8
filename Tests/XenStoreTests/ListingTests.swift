// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenInterface
import XenStore

struct ListingTests {
    /// Listings of real hosts and guests, and the path each was taken of.
    static let recordings: [(file: String, path: String)] = [
        ("lifecycle/xs-1paused-all.txt", "/"),
        ("lifecycle/xs-2connected-all.txt", "/"),
        ("lifecycle/xs-3destroyed-all.txt", "/"),
        ("lifecycle/xs-1paused-backend.txt", "/local/domain/0/backend"),
        ("lifecycle/xs-2connected-frontend.txt", "/local/domain/1"),
        ("hotplug/xs-4hot-unplug-6-backend.txt", "/local/domain/0/backend"),
        ("saverestore/xs-1after-restore-frontend.txt", "/local/domain/2"),
    ]

    @Test(arguments: recordings)
    func `a recorded tree that is loaded is listed byte for byte`(file: String, path: String) throws {
        let recorded = try Fixture(file).lines().joined(separator: "\n")
        var store = StoreServer()
        try store.importListing(recorded)
        let top = try #require(StorePath(path))
        let listed = try store.listing(of: top, [.fullPaths, .permissions])
        // The store's own first nodes are there whether the text has them or not.
        let own = "/tool = \"\"   (n0)\n/tool/xenstored = \"\"   (n0)\n"
        #expect((path == "/" && !recorded.hasPrefix("/tool = ") ? own : "") + recorded == listed)
    }

    /// What the recorder wrote before it listed `/tool/cli` with each choice of options.
    @Test(
        arguments: [
            ([], "xenstore-ls /tool/cli"), (.fullPaths, "xenstore-ls -f /tool/cli"),
            (.permissions, "xenstore-ls -p /tool/cli"), ([.fullPaths, .permissions], "xenstore-ls -fp /tool/cli"),
        ] as [(StoreListingOptions, String)]
    )
    func `each choice of options prints as xenstore-ls does`(options: StoreListingOptions, command: String) throws {
        var store = StoreServer()
        try store.importListing("/tool/cli/a = \"1\"\n/tool/cli/b/c = \"2\"\n")
        // The transcript holds a byte that is no text.
        let transcript = String(decoding: try Fixture("wire/cli-transcript-c.txt").bytes(), as: UTF8.self)
        let lines = transcript.split(separator: "\n").map(String.init)
        let start = try #require(lines.firstIndex(of: "+ " + command))
        let recorded = lines[(start + 1)...].prefix { !$0.hasPrefix("+") }
        let path = try #require(StorePath("/tool/cli"))
        #expect(try store.listing(of: path, options) == recorded.map { $0 + "\n" }.joined())
    }

    @Test func `values that are not plain text come back from their listing`() throws {
        let value = StoreValue([UInt8](0...255))
        var store = try storeHolding(value)
        let text = try store.listing(of: path, [.fullPaths])
        #expect(text.utf8.allSatisfy { (0x20...0x7E).contains($0) || $0 == 0x0A })
        try store.importListing("/t/x = \"\"\n")
        try store.importListing(text)
        #expect(try read(&store) == .value(value))
    }

    @Test func `quotes and what looks like permissions within a value are part of it`() throws {
        let value: StoreValue = "a\"   (n0)\" = \"b"
        var store = try storeHolding(value)
        let text = try store.listing(of: path, [.fullPaths, .permissions])
        try store.importListing(text)
        #expect(try read(&store) == .value(value))
    }

    @Test func `a tree may name owners that no domain can be, which costs no more than others`() throws {
        var store = StoreServer()
        let text = "/t/x = \"1\"   (n2147483647)\n/t/y = \"2\"   (n-2147483648,r-1)\n/t/z = \"3\"   (n32752)"
        try store.importListing(text + "\n")
        let top = try #require(StorePath("/t"))
        let listed = try store.listing(of: top, [.fullPaths, .permissions])
        #expect(listed == text + "\n")
        let client = store.connect(as: .dom0)
        var outputs: [StoreOutput] = []
        #expect(store.perform(.remove(top), on: client, into: &outputs) == .done)
    }

    @Test func `long values are cut at the width of a terminal`() throws {
        var store = StoreServer()
        let long = String(repeating: "v", count: 100)
        try store.importListing("/t/x = \"\(long)\"   (n0,r5)\n/t/x/y = \"\(long)\"   (n5)\n")
        let listed = try store.listing(of: path, .permissions)
        // As the real client printed it for the same tree.
        #expect(
            listed == """
                x = "\(long.prefix(71))\\..."  (n0,r5)
                 y = "\(long.prefix(70))\\..."  (n5)

                """
        )
    }

    @Test(
        arguments: [
            ("x", .form), ("/t", .form), ("/t =", .form), ("/t = \"", .form), ("/t = \"\" (n0)", .form),
            ("/t = \"\"   (n0", .form), ("t = \"\"", .path), ("/t/ = \"\"", .path), ("/t% = \"\"", .path),
            ("@x = \"\"", .path), ("/t = \"\\\"", .value), ("/t = \"\\x4\"", .value), ("/t = \"\\9\"", .value),
            ("/t = \"\"   ()", .permissions), ("/t = \"\"   (x0)", .permissions), ("/t = \"\"   (n0,)", .permissions),
        ] as [(String, StoreImportError.Reason)]
    )
    func `a line of another form is refused with its number`(line: String, reason: StoreImportError.Reason) {
        var store = StoreServer()
        let error = #expect(throws: StoreImportError.self) { try store.importListing("/ok = \"1\"\n\n\(line)\n") }
        #expect(error == StoreImportError(line: 3, reason: reason))
    }

    private let path = StorePath.root.appending("t")

    private func storeHolding(_ value: StoreValue) throws -> StoreServer {
        var store = StoreServer()
        let client = store.connect(as: .dom0)
        var outputs: [StoreOutput] = []
        #expect(store.perform(.write(path.appending("x"), value), on: client, into: &outputs) == .done)
        return store
    }

    private func read(_ store: inout StoreServer) throws -> StoreReply {
        var outputs: [StoreOutput] = []
        let client = store.connect(as: .dom0)
        return store.perform(.read(path.appending("x")), on: client, into: &outputs)
    }
}

/// Directories beyond one message (D20), called directly and over the wire.
struct LongListingTests {
    private var store = StoreServer()
    private let client: StoreConnectionID
    private let names = (0..<700).map { "child-number-\($0)" }
    private let top: StorePath = .root.appending("top")

    init() {
        client = store.connect(as: .dom0)
        var outputs: [StoreOutput] = []
        for name in names { store.perform(.write(top.appending(name), ""), on: client, into: &outputs) }
    }

    @Test
    mutating func
        `4096 bytes of listing are sent, one more is refused, however it is asked for`()
        throws
    {
        #expect(perform(.directory(top)) == .failure(.tooBig))
        #expect(send(.directory, "/top\u{0}") == Array("E2BIG\u{0}".utf8))
        // 256 names of 15 bytes, with a NUL each.
        let full = StorePath.root.appending("full")
        for number in 0..<256 { perform(.write(full.appending("name--\(100_000_000 + number)"), "")) }
        #expect(send(.directory, "/full\u{0}").count == 4096)
        guard case .children(let children) = perform(.directory(full)) else { throw StoreErrorCode.invalid }
        #expect(children.count == 256)
        perform(.write(full.appending("n"), ""))
        #expect(send(.directory, "/full\u{0}") == Array("E2BIG\u{0}".utf8))
    }

    @Test mutating func `parts come to the whole, each as long as fits, from any offset`() throws {
        let whole = bytes(names)
        for first in [0, 1, 14, 15, 4000] {
            var offset = first
            var isLast = false
            while !isLast {
                let payload = send(.directoryPart, "/top\u{0}\(offset)\u{0}")
                let stamp = try #require(payload.firstIndex(of: 0)) + 1
                var part = payload[stamp...]
                isLast = part.suffix(2) == [0, 0] || (offset >= whole.count && part == [0])
                if isLast { part = part.dropLast() }
                #expect(Array(part) == Array(whole[offset..<(offset + part.count)]))
                #expect(part.last == 0)
                // The next name would not have fitted, with one byte kept for the end.
                let next = whole[(offset + part.count)...].prefix { $0 != 0 }.count + 1
                #expect(isLast || payload.count + next + 1 > 4096)
                offset += part.count
                guard
                    case .part(_, let children, let isLastTyped) = perform(
                        .directoryPart(top, offset: UInt32(offset - part.count))
                    )
                else { throw StoreErrorCode.invalid }
                #expect(isLastTyped == isLast)
                #expect(bytes(children) == Array(part))
            }
            #expect(offset == whole.count)
        }
        #expect(send(.directoryPart, "/top\u{0}\(whole.count)\u{0}").suffix(2) == [0, 0])
        guard case .part(_, [], true) = perform(.directoryPart(top, offset: .max)) else { throw StoreErrorCode.invalid }
    }

    @Test mutating func `a last part may fill the message, with its end`() throws {
        for size in 4070...4096 {
            let full = StorePath.root.appending("full\(size)")
            for number in 0..<95 {
                perform(.write(full.appending(String(repeating: "n", count: 37) + "\(100 + number)"), ""))
            }
            perform(.write(full.appending(String(repeating: "x", count: size - 3895 - 1)), ""))
            let payload = send(.directoryPart, "\(full)\u{0}" + "0\u{0}")
            let stamp = try #require(payload.firstIndex(of: 0)) + 1
            #expect((3800...4096).contains(payload.count))
            #expect((payload.suffix(2) == [0, 0]) == (stamp + size + 1 <= 4096))
        }
    }

    @Test mutating func `a value that no message holds is refused`() {
        let value = StoreValue([UInt8](repeating: 1, count: 4096 - 5))
        #expect(perform(.write(StorePath.root.appending("abc"), value)) == .done)
        #expect(perform(.write(StorePath.root.appending("abcd"), value)) == .failure(.tooBig))
    }

    private func bytes(_ names: [String]) -> [UInt8] {
        names.flatMap { name in [UInt8](name.utf8) + [0] }
    }

    @discardableResult
    private mutating func perform(_ request: StoreRequest) -> StoreReply {
        var outputs: [StoreOutput] = []
        return store.perform(request, on: client, into: &outputs)
    }

    private mutating func send(_ operation: StoreOperation, _ payload: String) -> [UInt8] {
        var outputs: [StoreOutput] = []
        store.handle(StoreMessage(operation, payload: Array(payload.utf8)), from: client, into: &outputs)
        guard case .message(let reply, _)? = outputs.last else { return [] }
        return reply.payload
    }
}
