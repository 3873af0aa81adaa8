// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenBus
import XenChannels
import XenInterface

private let recording = "lifecycle/wire-xl-create.jsonl"
private let guest = DomainID(1)
private let agent = ChannelSpecification(name: "org.example.agent.0", connection: .socket(path: "/tmp/chan1.sock"))
private let terminal = ChannelSpecification(name: "org.example.pty.0", connection: .pty)

/// The channels of the recorded guest; the real xl lost the one before them (R18).
private func recordedChannels() throws -> [ChannelConfiguration] {
    try ChannelConfiguration.list([agent, terminal])
}

private let recordedGuest = DomainSkeleton(
    domain: guest,
    name: "domU1",
    uuid: "04646222-b09c-4bb2-9fe4-c2873075e5e7",
    memory: 196_608
)

/// Compares a script with a recorded transaction: the same requests in the same order, every recorded error tolerated.
private func compare(_ steps: [StoreStep], with recorded: [RecordedExchange]) {
    #expect(steps.count == recorded.count)
    for (step, exchange) in zip(steps, recorded) {
        #expect(step.request == exchange.request)
        guard case .failure(let error) = exchange.reply else { continue }
        #expect(step.tolerated.contains(error), "\(step.request): \(error)")
    }
}

struct ToolstackScriptTests {
    @Test func `channels and the primary console are made with libxl's very requests (R4, B4, B9 to B12)`() throws {
        let recorded = try recordedExchanges(recording, connection: 1)
        let channels = try recordedChannels()
        compare(channels[0].creation(in: guest), with: recorded.filter { $0.transaction == 3 })
        compare(channels[1].creation(in: guest), with: recorded.filter { $0.transaction == 4 })
        let console = PrimaryConsole(port: EventChannelPort(2), frame: FrameNumber(496_642))
        compare(console.creation(in: guest), with: recorded.filter { $0.transaction == 5 })
    }

    @Test func `a guest's nodes are made with libxl's requests`() throws {
        let recorded = try recordedExchanges(recording, connection: 1)
        // Reads that libxl makes meanwhile are outside of the transaction; the name it checks is the caller's business.
        compare(recordedGuest.creation, with: recorded.filter { $0.transaction == 1 })
        let unneeded = ["/image/", "/start_time"]
        let details = recorded.filter { exchange in
            guard exchange.transaction == 2, case .write(let path, _) = exchange.request else { return false }
            return !unneeded.contains { path.text.contains($0) }
        }
        let port = EventChannelPort(1)
        let frame = FrameNumber(496_641)
        compare(recordedGuest.details(storePort: port, storeFrame: frame), with: details)
        let introduction = recorded.firstIndex {
            $0.request == recordedGuest.introduction(storePort: port, storeFrame: frame)
        }
        let device = try #require(recorded.firstIndex { $0.transaction == 3 })
        #expect(try #require(introduction) < device)
    }

    @Test(arguments: [UInt32(1), 2, 0])
    func `a device is removed with libxl's requests, as far up as directories are empty`(number: UInt32) throws {
        let transaction: UInt32 = number == 0 ? 3 : number
        let recorded = try recordedExchanges(recording, connection: 7).filter { $0.transaction == transaction }
        #expect(!recorded.isEmpty)
        var removal = ConsoleDeviceRemoval(of: DeviceID(number), in: guest)
        var reply: StoreReply?
        for exchange in recorded {
            let step = removal.nextStep(after: reply)
            #expect(step?.request == exchange.request)
            reply = exchange.reply
        }
        #expect(removal.nextStep(after: reply) == nil)
        #expect(removal.nextStep(after: nil) == nil)
    }

    @Test func `the guest's nodes are removed last`() throws {
        let recorded = try recordedExchanges(recording, connection: 7)
        compare(recordedGuest.removal, with: Array(recorded.suffix(4)))
    }

    @Test func `what stands in the store afterwards is what stood in the real one`() throws {
        var store = ScriptStore()
        store.run(recordedGuest.creation)
        store.run(recordedGuest.details(storePort: EventChannelPort(1), storeFrame: FrameNumber(496_641)))
        for channel in try recordedChannels() { store.run(channel.creation(in: guest)) }
        store.run(PrimaryConsole(port: EventChannelPort(2), frame: FrameNumber(496_642)).creation(in: guest))

        var real = try ScriptStore(dump: Fixture("lifecycle/xs-1paused-all.txt").lines())
        // What the daemons had written by then.
        for daemon: (String, StoreValue) in [
            ("/local/domain/1/device/console/2/tty", ""), ("/local/domain/1/console/tty", ""),
            ("/local/domain/0/backend/console/1/1/state", "1"), ("/local/domain/0/backend/console/1/2/state", "1"),
        ] {
            _ = real.perform(.write(try #require(StorePath(daemon.0)), daemon.1), in: .none)
        }
        for device in ["1", "2"] {
            _ = real.perform(
                .remove(try #require(StorePath("/local/domain/0/backend/console/1/\(device)/hotplug-status"))),
                in: .none
            )
        }
        _ = real.perform(.remove(try #require(StorePath("/local/domain/1/image"))), in: .none)
        _ = real.perform(.remove(try #require(StorePath("/libxl/1/dm-version"))), in: .none)
        for root in ["/local/domain/1", "/local/domain/0/backend", "/libxl"] {
            let path = try #require(StorePath(root))
            #expect(store.listing(below: path) == real.listing(below: path))
        }
    }

    @Test func `a made and removed guest leaves nothing`() throws {
        var store = ScriptStore()
        store.run(DomainSkeleton(domain: .dom0, name: "Domain-0", uuid: "0").creation)
        let before = store.listing(below: .root)
        store.run(recordedGuest.creation)
        let channels = try recordedChannels()
        for channel in channels { store.run(channel.creation(in: guest)) }
        store.run(PrimaryConsole(port: EventChannelPort(2), frame: FrameNumber(5)).creation(in: guest))
        for device in channels.map(\.device) + [.primaryConsole] {
            var removal = ConsoleDeviceRemoval(of: device, in: guest)
            var step = removal.nextStep(after: nil)
            while let request = step?.request {
                step = removal.nextStep(after: store.perform(request, in: .none))
            }
        }
        store.run(recordedGuest.removal)
        #expect(store.listing(below: .root) == before)
    }

    @Test func `removing twice, or what was never there, is no error`() {
        var store = ScriptStore()
        var removal = ConsoleDeviceRemoval(of: DeviceID(3), in: guest)
        var requests: [StoreRequest] = []
        var step = removal.nextStep(after: nil)
        while let now = step {
            let reply = store.perform(now.request, in: .none)
            if case .failure(let error) = reply { #expect(now.tolerated.contains(error)) }
            requests.append(now.request)
            step = removal.nextStep(after: reply)
        }
        #expect(requests.count == 3)
    }

    @Test func `an empty directory goes only if it holds no value of its own`() throws {
        var store = ScriptStore()
        let channels = try recordedChannels()
        store.run(channels[0].creation(in: guest))
        let directory = try #require(StorePath("/local/domain/1/device/console"))
        _ = store.perform(.write(directory, "kept"), in: .none)
        var removal = ConsoleDeviceRemoval(of: DeviceID(1), in: guest)
        var step = removal.nextStep(after: nil)
        while let request = step?.request {
            step = removal.nextStep(after: store.perform(request, in: .none))
        }
        #expect(
            store.listing(below: .root).keys.sorted() == [
                "/", "/local", "/local/domain", "/local/domain/1", "/local/domain/1/device", directory.text,
            ]
        )
    }

    @Test func `a guest can write its states and nothing that steers the host (XSA-57, XSA-175)`() throws {
        var store = ScriptStore()
        store.run(recordedGuest.creation)
        for channel in try recordedChannels() { store.run(channel.creation(in: guest)) }
        store.run(PrimaryConsole(port: EventChannelPort(2), frame: FrameNumber(5)).creation(in: guest))
        let writable = store.nodes.filter { $0.value.permissions.access(of: guest).canWrite }.map(\.key.text)
        let device = Set(
            ["/backend", "/backend-id", "/state", "/protocol", ""].map { "/local/domain/1/device/console/1\($0)" }
        )
        #expect(Set(writable.filter { $0.contains("device/console/1") }) == device)
        #expect(writable.contains("/local/domain/1/console/backend-id"))
        for path in writable {
            #expect(path.hasPrefix("/local/domain/1/"), "\(path)")
            #expect(!["/tty", "/output", "/limit", "/type", "/name"].contains { path.hasSuffix($0) }, "\(path)")
        }
        for path in ["/local/domain/1", "/local/domain/1/device", "/local/domain/1/device/console", "/libxl/1"] {
            #expect(!writable.contains(path))
        }
    }

    @Test func `a channel of a driver domain has that domain's nodes and permissions`() throws {
        let specification = ChannelSpecification(name: "x", connection: .pty, backend: "storage")
        let channel = try ChannelConfiguration(specification, device: DeviceID(1)) {
            $0 == "storage" ? DomainID(4) : nil
        }
        var store = ScriptStore()
        store.run(channel.creation(in: DomainID(9), type: "external"))
        let frontend = try #require(StorePath("/local/domain/9/device/console/1"))
        let backend = try #require(StorePath("/local/domain/4/backend/console/9/1"))
        #expect(store.nodes[frontend]?.permissions.description == "n9,r4")
        #expect(store.nodes[backend]?.permissions.description == "n4,r9")
        #expect(store.nodes[frontend.appending("tty")]?.permissions.description == "n4,r9")
        #expect(store.nodes[frontend.appending("backend-id")]?.value == "4")
        #expect(store.nodes[frontend.appending("backend")]?.value == StoreValue(backend.text))
        #expect(store.nodes[frontend.appending("type")]?.value == "external")
    }
}

struct QEMUArgumentTests {
    @Test func `QEMU's arguments are those of the recorded command line (C5, C6, R17)`() throws {
        let recorded = try Fixture("lifecycle/qemu-cmdline.txt").lines()
        for channel in try recordedChannels() {
            let words = channel.qemuArguments
            let position = try #require(recorded.firstIndex(of: words[1]), "\(words)")
            #expect(recorded[position - 1] == words[0])
        }
        #expect(try recordedChannels().map(\.output) == ["chardev:libxl-channel1", "pty"])
    }

    @Test func `a comma in a path is doubled`() throws {
        let specification = ChannelSpecification(name: "x", connection: .socket(path: "/tmp/a,b,,c"))
        let channel = try ChannelConfiguration(specification, device: DeviceID(12))
        #expect(
            channel.qemuArguments == [
                "-chardev", "socket,id=libxl-channel12,path=/tmp/a,,b,,,,c,server=on,wait=off",
            ]
        )
        #expect(specification.text == nil)
        #expect(!channel.isUsableByLinux)
    }
}
