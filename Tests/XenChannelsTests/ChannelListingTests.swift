// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenChannels
import XenInterface

private let guest = DomainID(1)

struct ChannelListingTests {
    @Test(arguments: ["1paused", "2connected"])
    func `the recorded store gives xl's recorded listing, to the byte (C11, R19)`(moment: String) throws {
        var store = try ScriptStore(dump: Fixture("lifecycle/xs-\(moment)-all.txt").lines())
        let listing = try ChannelListing(of: guest, readingFrom: &store)
        #expect(try Array(listing.text.utf8) == Fixture("lifecycle/xl-channel-list-\(moment).txt").bytes())
        #expect(listing.channels.map(\.name) == ["org.example.agent.0", "org.example.pty.0"])
    }

    @Test func `a domain that is gone has a header only`() throws {
        var store = try ScriptStore(dump: Fixture("lifecycle/xs-3destroyed-all.txt").lines())
        let text = try ChannelListing(of: guest, readingFrom: &store).text
        #expect(try text == Fixture("lifecycle/xl-channel-list-3destroyed.txt").lines()[1] + "\n")
    }

    @Test func `numbers with gaps show their own channels, in numerical order`() throws {
        var store = ScriptStore()
        for number: UInt32 in [10, 2, 9] {
            let specification = ChannelSpecification(name: "n\(number)", connection: .pty)
            let channel = try ChannelConfiguration(specification, device: DeviceID(number))
            store.run(channel.creation(in: guest))
            let tty = try #require(StorePath("/local/domain/1/device/console/\(number)/tty"))
            _ = store.perform(.write(tty, StoreValue("/dev/pts/\(number)")), in: .none)
        }
        store.run(PrimaryConsole(port: EventChannelPort(2), frame: FrameNumber(5)).creation(in: guest))
        let listing = try ChannelListing(of: guest, readingFrom: &store)
        #expect(listing.channels.map(\.device.rawValue) == [2, 9, 10])
        #expect(listing.channels.map(\.terminal) == ["/dev/pts/2", "/dev/pts/9", "/dev/pts/10"])
        #expect(
            listing.text.split(separator: "\n")[3].hasPrefix("2   0  1     -1     -1       pty        /dev/pts/10 ")
        )
    }

    @Test func `what a guest writes is shown only if it makes sense`() throws {
        var store = ScriptStore()
        let specification = ChannelSpecification(name: "n", connection: .pty)
        store.run(try ChannelConfiguration(specification, device: DeviceID(1)).creation(in: guest))
        let frontend = try #require(StorePath("/local/domain/1/device/console/1"))
        for (key, value): (String, StoreValue) in [
            ("state", "9"), ("port", "-1"), ("ring-ref", "99999999999"), ("backend", "/local/domain/6/backend/x"),
            ("tty", "\u{1B}[2J\n"),
        ] {
            _ = store.perform(.write(frontend.appending(key), value), in: .none)
        }
        let listing = try ChannelListing(of: guest, readingFrom: &store)
        let row = listing.text.split(separator: "\n")[1]
        #expect(row.hasPrefix("0   0  -1    -1     -1       pty        ?[2J? "))
        _ = store.perform(.remove(frontend), in: .none)
        let gone = try ChannelListing(of: guest, readingFrom: &store)
        #expect(gone.text.contains(" /NO-SUCH-PATH "))
        #expect(gone.channels.first?.backend == .dom0)
    }

    @Test func `errors of the store are thrown, and long directories are read in parts (D20)`() throws {
        var broken = PartedStore(parts: [], failure: .accessDenied)
        #expect(throws: StoreErrorCode.accessDenied) { try ChannelListing(of: guest, readingFrom: &broken) }
        // The directory changes after the first part; the listing begins anew.
        var store = PartedStore(parts: [(1, ["3"], false), (2, ["4"], true), (2, ["1", "x"], false), (2, ["2"], true)])
        let listing = try ChannelListing(of: guest, readingFrom: &store)
        #expect(listing.channels.map(\.device.rawValue) == [1, 2])
        #expect(store.offsets == [0, 2, 0, 4])
        var restless = PartedStore(parts: (0..<1000).map { (UInt64($0), ["3"], false) })
        #expect(throws: StoreErrorCode.again) { try ChannelListing(of: guest, readingFrom: &restless) }
        var endless = PartedStore(parts: (0..<1000).map { _ in (1, [], false) })
        #expect(throws: StoreErrorCode.inputOutput) { try ChannelListing(of: guest, readingFrom: &endless) }
    }

    @Test func `wide values push the row, as in xl`() {
        let channel = ChannelInfo(
            device: DeviceID(1),
            name: "n",
            backend: DomainID(12345),
            state: .connected,
            port: EventChannelPort(1_234_567),
            ringReference: GrantReference(123_456_789),
            connection: "socket"
        )
        let row = ChannelListing([channel]).text.split(separator: "\n")[1]
        #expect(row == "0   12345 4     1234567 123456789 socket     ")
    }
}

/// A store whose directories are too long for one message.
private struct PartedStore: StoreConnection {
    var parts: [(generation: UInt64, names: [String], isLast: Bool)]
    var failure = StoreErrorCode.tooBig
    var offsets: [UInt32] = []

    mutating func perform(_ request: StoreRequest, in transaction: StoreTransactionID) -> StoreReply {
        switch request {
        case .directory: return .failure(failure)
        case .directoryPart(_, let offset):
            offsets.append(offset)
            let part = parts.removeFirst()
            return .part(generation: part.generation, children: part.names, isLast: part.isLast)
        case .read(let path) where path.lastComponent == "name": return .value("n")
        case .read(let path) where path.lastComponent == "backend":
            return .value("/local/domain/0/backend/console/1/1")
        default: return .failure(.noEntry)
        }
    }

    mutating func nextWatchEvent() -> StoreWatchEvent? { nil }
}
