// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenInterface
import XenStore

/// Replays all that real xl and QEMU said to a real xenstored while a domain with two channels was created, ran and was
/// destroyed: each frame they got is the frame this store sends.
struct LifecycleReplayTests {
    @Test func `xl and QEMU get every frame that the real store sent them`() throws {
        var replay = LifecycleReplay()
        for frame in try Fixture("lifecycle/wire-xl-create.jsonl").jsonLines(of: Frame.self) {
            replay.play(frame)
        }
        #expect(replay.differences == [])
        #expect(replay.received > 440)
        #expect(replay.unread == [])
    }

    @Test func `afterwards nothing of the domain is left`() throws {
        var replay = LifecycleReplay()
        let before = try replay.listing()
        for frame in try Fixture("lifecycle/wire-xl-create.jsonl").jsonLines(of: Frame.self) {
            replay.play(frame)
        }
        let after = Set(try replay.listing().split(separator: "\n"))
        #expect(Set(before.split(separator: "\n")).subtracting(after) == [])
        #expect(after.filter { $0.contains("/local/domain/1/") } == [])
    }
}

/// A line of the recording: a connection that comes or goes, or a frame in one direction.
struct Frame: Decodable {
    let t: Double
    let c: Int
    let ev: String?
    let d: String?
    let hex: String?
    let s: String?
}

struct LifecycleReplay {
    private var store = StoreServer(existence: .announced)
    private var clients: [Int: StoreConnectionID] = [:]
    private var queues: [StoreConnectionID: [StoreMessage]] = [:]
    private let kernel: StoreConnectionID
    private var guest: StoreConnectionID?
    private var outside = LifecycleReplay.outsiders[...]
    var differences: [String] = []
    var received = 0

    /// What the host's tree held before, by the trace of the daemon.
    private static let before = """
        /local/domain/0/control/feature-poweroff = "1"
        /local/domain/0/control/feature-reboot = "1"
        /local/domain/0/control/feature-suspend = "1"
        /local/domain/0/domid = "0"
        /local/domain/0/name = "Domain-0"
        /local/pool/0/name = "Pool-0"
        /local/domain/0/device-model/0/backends/console = ""   (n0,n0)
        /local/domain/0/device-model/0/backends/vkbd = ""   (n0,n0)
        /local/domain/0/device-model/0/backends/9pfs = ""   (n0,n0)
        /local/domain/0/device-model/0/backends/qusb = ""   (n0,n0)
        /local/domain/0/device-model/0/backends/vfb = ""   (n0,n0)
        /local/domain/0/device-model/0/backends/qnic = ""   (n0,n0)
        /local/domain/0/device-model/0/state = "running"
        """

    /// Something that xenconsoled, the guest or the hypervisor did, which was not recorded with the frames; by the trace of the daemon.
    enum Outsider {
        case daemonWrites(String, String)
        case guestWrites([(String, String)])
        case domainDies
    }

    /// Each happens just before the frame of that time, which is where the events that it fired show that it did.
    private static let outsiders: [(time: Double, what: Outsider)] = [
        (8.5, .daemonWrites("/local/domain/1/console/tty", "/dev/pts/0")),
        (29.101, .guestWrites([("device/console/1/ring-ref", "8"), ("device/console/1/port", "8")])),
        (29.4179, .guestWrites([("device/console/1/state", "3")])),
        (29.9476, .guestWrites([("device/console/1/state", "4")])),
        (29.9544, .guestWrites([("device/console/2/ring-ref", "9"), ("device/console/2/port", "9")])),
        (30.2665, .guestWrites([("device/console/2/state", "3")])),
        (31.0163, .guestWrites([("device/console/2/state", "4")])),
        (61.1582, .domainDies),
    ]

    init() {
        kernel = store.connect(as: .dom0)
        do throws(StoreImportError) {
            try store.importListing(LifecycleReplay.before)
        } catch {
            differences.append("\(error)")
        }
        store.domainCreated(DomainID(1))
    }

    /// Frames that were sent to somebody and not recorded.
    var unread: [String] {
        queues.filter { clients.values.contains($0.key) }.values.flatMap { $0 }.map(describe)
    }

    func listing() throws -> String {
        try store.listing(of: .root, [.fullPaths])
    }

    mutating func play(_ frame: Frame) {
        while let next = outside.first, next.time <= frame.t {
            act(next.what)
            outside.removeFirst()
        }
        switch frame.ev {
        case "connect": clients[frame.c] = store.connect(as: .dom0)
        case "close": clients.removeValue(forKey: frame.c).map { store.disconnect($0) }
        default: playMessage(frame)
        }
    }

    private mutating func playMessage(_ frame: Frame) {
        guard let client = clients[frame.c], let wire = frame.hex.flatMap({ bytes(hex: $0) }) else { return }
        var decoder = StoreMessageDecoder()
        decoder.append(wire)
        guard case .message(let message) = decoder.next() else {
            differences.append("not a message: \(frame.t)")
            return
        }
        if frame.d == ">" {
            send(message, from: client)
            return
        }
        received += 1
        guard queues[client, default: []].first == message else {
            let first = queues[client, default: []].first.map(describe) ?? "nothing"
            differences.append("\(frame.t) connection \(frame.c): \(first) not \(describe(message))")
            return
        }
        queues[client]?.removeFirst()
    }

    private mutating func send(_ message: StoreMessage, from id: StoreConnectionID) {
        var outputs: [StoreOutput] = []
        store.handle(message, from: id, into: &outputs)
        deliver(outputs)
    }

    private mutating func deliver(_ outputs: [StoreOutput]) {
        for output in outputs {
            switch output {
            case .message(let message, let to): queues[to, default: []].append(message)
            case .introduced(let introduction): guest = introduction.connection
            case .disconnected, .released: break
            }
        }
    }

    private mutating func act(_ outsider: Outsider) {
        switch outsider {
        case .daemonWrites(let path, let value):
            write(path, value, as: kernel)
        case .guestWrites(let nodes):
            guard let guest else { return differences.append("no guest") }
            for (path, value) in nodes { write(path, value, as: guest) }
        case .domainDies:
            var outputs: [StoreOutput] = []
            store.domainDestroyed(DomainID(1), into: &outputs)
            deliver(outputs)
        }
    }

    private mutating func write(_ path: String, _ value: String, as id: StoreConnectionID) {
        send(StoreMessage(.write, payload: Array("\(path)\u{0}\(value)".utf8)), from: id)
    }

    private func describe(_ message: StoreMessage) -> String {
        let text = String(decoding: message.payload, as: UTF8.self)
        return "\(message.operation) \(message.transaction.rawValue) \(text.debugDescription)"
    }
}
