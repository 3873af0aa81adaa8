// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenBus
import XenChannels
import XenInterface
import XenStore

/// The tree after the toolstack made two channels and a backend has realised them, against what a real host had then.
struct RecordedTreeTests {
    @Test func `our toolstack and backend leave the tree that xl and QEMU leave (R1 to R3)`() throws {
        let host = StoreHost()
        var dom0 = host.connect(as: .dom0)
        let domain = DomainID(1)
        let skeleton = DomainSkeleton(
            domain: domain,
            name: "domU1",
            uuid: "04646222-b09c-4bb2-9fe4-c2873075e5e7",
            memory: 196_608
        )
        try run(skeleton.creation, on: &dom0)
        let channels = try ChannelConfiguration.list([
            ChannelSpecification("connection=socket,path=/tmp/chan1.sock,name=org.example.agent.0"),
            ChannelSpecification("connection=pty,name=org.example.pty.0"),
        ])
        for channel in channels { try run(channel.creation(in: domain), on: &dom0) }
        for channel in channels { realise(channel.device, of: domain, on: host.connect(as: .dom0)) }

        let listing = try host.server.listing(of: .root, [.fullPaths, .permissions]).split(separator: "\n").map(
            String.init
        )
        let recorded =
            try Fixture("lifecycle/xs-1paused-frontend.txt").lines()
            + Fixture("lifecycle/xs-1paused-backend.txt").lines()
        for prefix in [
            "/local/domain/1/device/console", "/local/domain/0/backend/console/1/1",
            "/local/domain/0/backend/console/1/2",
        ] {
            let wanted = recorded.filter { $0.hasPrefix(prefix) }
            #expect(!wanted.isEmpty)
            #expect(listing.filter { $0.hasPrefix(prefix) } == wanted)
        }
    }

    private func run(_ steps: [StoreStep], on store: inout HostedStoreConnection) throws {
        var script = StoreScript(steps, transaction: true)
        _ = try script.run(on: &store)
    }

    /// Steps a backend until it waits for the guest; its terminal is the one that QEMU had.
    private func realise(_ device: DeviceID, of domain: DomainID, on store: HostedStoreConnection) {
        var machine = ChannelBackend(
            paths: DevicePaths(frontend: domain, backend: .dom0, device: device),
            token: "t"
        )
        var events: [ChannelBackend.Event] = [.start]
        while !events.isEmpty {
            for action in machine.handle(events.removeFirst()) {
                switch action {
                case .store(let request, let transaction):
                    events.append(.reply(store.perform(request, in: transaction)))
                case .open(let connection, _): events.append(.opened(tty: connection == .pty ? "/dev/pts/3" : nil))
                case .report(let diagnostic): Issue.record("\(diagnostic)")
                case .attach, .detach, .closeEndpoint, .startTimer, .stopTimer, .finished:
                    Issue.record("\(action)")
                }
            }
        }
        #expect(machine.state == .waiting)
    }
}
