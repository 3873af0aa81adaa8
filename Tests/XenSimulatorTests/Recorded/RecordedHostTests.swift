// SPDX-License-Identifier: MIT

import Testing
import XenBus
import XenChannels
import XenInterface

@testable import XenSimulator

/// Recordings of a real host, reproduced request by request by peers with the profiles of Linux 6.1, QEMU 7.2 and xenconsoled 4.17.
struct RecordedHostTests {
    /// Plays a recording in which one domain is made, runs and is destroyed.
    ///
    /// `mark` is called where the recording says what is done next.
    private func playLife(_ path: String, at mark: (String, TraceReplay) -> Void) throws -> TraceReplay {
        let lines = try TraceLine.all(in: path)
        let replay = TraceReplay()
        let guest = try replay.createDomain()
        let releases = lines.indices.filter { lines[$0].text == "@releaseDomain domlist " }
        for index in lines.indices {
            let line = lines[index]
            switch line.request {
            case .watch(.introduceDomain, "domlist", nil):
                replay.identify(line.connection, as: .consoleDaemon)
                replay.startConsoleDaemon()
            case .makeDirectory(let path) where path.text == "device-model/\(guest)/backends/console":
                replay.identify(line.connection, as: .qemu)
                replay.startQEMU(for: guest)
            case .watch(let path, _, nil) where path.text == "control/shutdown" && line.text.contains("FFFFFFFF"):
                // The kernel of domain 0 does the same, before there is a guest.
                guard lines[..<index].contains(where: { $0.text.hasPrefix("device-model/\(guest)/state ") }) else {
                    break
                }
                replay.identify(line.connection, as: .guest)
                replay.startGuest(as: guest)
            default: break
            }
            if line.kind == .mark { mark(line.text, replay) }
            if index == releases.last, case .reply = line.kind { replay.world.destroyDomain(guest) }
            replay.play(line, following: lines[(index + 1)...])
        }
        return replay
    }

    @Test func `creation, connection and destruction are as recorded (B4, B5, B14, B15, B17, R1 to R5, R7, R8)`() throws
    {
        let replay = try playLife("lifecycle/xenstored-trace.txt") { mark, replay in
            // "xenstore-ls" in the guest, and a write that is refused.
            replay.shellLines = 4842..<5093
            // xl pauses a domain before it takes it apart.
            if mark.contains("destroy") { replay.suspended.insert(.guest) }
        }
        check(replay, [.guest: 49, .qemu: 67, .consoleDaemon: 41])
    }

    /// Nothing differs, so many requests were compared, and no peer would make another one.
    private func check(_ replay: TraceReplay, _ matched: [TraceReplay.Role: Int]) {
        for difference in replay.differences.prefix(8) { Issue.record("\(difference)") }
        #expect(replay.matched == matched)
        #expect(replay.pending == [])
    }

    @Test
    func `hotplug, closing from the backend, unplugging and unbinding are as recorded (R6, R8, R10, B15, B17, D38)`()
        throws
    {
        let replay = try playLife("hotplug/xenstored-trace.txt") { mark, replay in
            // A shell in the guest unbinds the driver.
            if mark == "guest-unbind" {
                replay.settle()
                replay.processes[.guest]?.devices.first { $0.key.device.rawValue == 1 }?.close()
            }
            if mark == "end" { replay.suspended.insert(.guest) }
        }
        check(replay, [.guest: 178, .qemu: 224, .consoleDaemon: 41])
    }

    @Test func `save and restore are as recorded (B16, B31, R11)`() throws {
        let lines = try TraceLine.all(in: "saverestore/xenstored-trace.txt")
        let replay = TraceReplay()
        try begin(replay)
        let guest = try #require(lines.first { $0.request == .write(StorePath("control/shutdown") ?? .root, "") })
        let daemon = try #require(lines.first { $0.text == "/local/domain/1/console dom1 " })
        replay.identify(guest.connection, as: .guest)
        replay.identify(daemon.connection, as: .consoleDaemon)
        let release = lines.lastIndex { $0.text == "@releaseDomain domlist " }
        var restored: DomainID?
        for index in lines.indices {
            let line = lines[index]
            if line.text == "save" {
                // The guest is suspended, and QEMU ended, before anything is taken apart.
                replay.suspended.insert(.guest)
                replay.processes[.qemu]?.crash()
            }
            if index == release { replay.world.destroyDomain(DomainID(1)) }
            if line.text == "restore" { restored = try replay.createDomain() }
            if let restored, line.request == .makeDirectory(StorePath("device-model/2/backends/console") ?? .root) {
                replay.identify(line.connection, as: .qemu)
                replay.startQEMU(for: restored)
            }
            if let restored, line.connection == guest.connection, replay.suspended.remove(.guest) != nil {
                let kernel = replay.processes[.guest] as? PeerGuest
                kernel?.suspend()
                kernel?.resume(as: restored)
            }
            replay.play(line, following: lines[(index + 1)...])
        }
        check(replay, [.guest: 48, .qemu: 67, .consoleDaemon: 39])
    }

    /// The host as it was before it was saved: a guest with two channels, both connected.
    private func begin(_ replay: TraceReplay) throws {
        let domain = try replay.createDomain()
        replay.startConsoleDaemon()
        let skeleton = DomainSkeleton(domain: domain, name: "domU1", uuid: "04646222-b09c-4bb2-9fe4-c2873075e5e7")
        try replay.perform(skeleton.creation)
        let agent = ChannelSpecification(name: "org.example.agent.0", connection: .socket(path: "/tmp/chan1.sock"))
        let terminal = ChannelSpecification(name: "org.example.pty.0", connection: .pty)
        for channel in try ChannelConfiguration.list([agent, terminal]) {
            try replay.perform(channel.creation(in: domain))
        }
        let console = PrimaryConsole(port: EventChannelPort(2), frame: FrameNumber(1))
        try replay.perform(console.creation(in: domain))
        try replay.perform([StoreStep(.introduce(domain, FrameNumber(2), EventChannelPort(1)))])
        replay.startQEMU(for: domain)
        replay.startGuest(as: domain)
        replay.run()
        let states = replay.processes[.guest]?.devices.map(\.announced) ?? []
        #expect(states == [.connected, .connected])
    }
}
