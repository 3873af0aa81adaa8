// SPDX-License-Identifier: MIT

import XenInterface

// The rows of backends. Each cell names the fact that it stands on.
extension BackendProfile {
    /// The rows, each once.
    public static let all: [BackendProfile] = [qemu, qemu7, xenconsoled, xenconsoledDiscarding, krata]

    private static let connection: [PeerStep] = [
        .need(.other("ring-ref")), .need(.other("port")), .read(.other("limit")), .attach, .state(.connected),
    ]

    /// QEMU's `xen_console.c` since 9.0, on its `xen-bus.c`.
    public static let qemu: BackendProfile = {
        var row = BackendProfile("QEMU", serves: .devices, ring: .qemu)
        row.adoption = [  // B22
            .expect(.own("online"), "1"), .expect(.state, "1"), .read(.own("frontend")), .read(.own("frontend-id")),
            .expect(.other("type"), "ioemu"), .read(.other("output")), .watch(.other("")),
        ]
        row.preparation = [  // B22
            .rewrite(.own("frontend")), .rewrite(.own("frontend-id")), .write(.own("hotplug-status"), "connected"),
            .write(.own("online"), "1"), .state(.initWait),
        ]
        row.connectsAt = [.initialised, .connected]  // B23
        row.connection = connection  // B23
        row.ownEvent = [.read(.own(""))]  // B24: whether it is there
        row.ownNews = ["online"]  // B24
        row.followsFrontend = true  // B23
        row.servesAgainFrom = .initWait  // B23
        row.rearms = false  // B25
        return row
    }()

    /// QEMU 7.2, on its older `xen-legacy-backend.c`: as it was recorded.
    public static let qemu7: BackendProfile = {
        var row = BackendProfile("QEMU 7.2", serves: .devices, ring: .qemu)
        row.adoption = [  // recorded
            .expect(.state, "1"), .read(.own("frontend")), .watch(.other("")), .state(.initialising),
            .read(.own("online")), .read(.otherState), .read(.other("protocol")),
        ]
        row.preparation = [  // recorded; R5
            .domainPath, .expect(.other("type"), "ioemu"), .read(.other("output")),
            .write(.own("hotplug-status"), "connected"), .state(.initWait),
        ]
        row.connectsAt = nil  // recorded: as soon as the numbers are there, with the frontend still at 1
        row.connection = connection  // R5
        row.ownEvent = [.read(.own(""))]  // recorded
        row.ownNews = ["online"]  // recorded
        row.otherNews = ["state", "protocol"]  // recorded
        row.followsFrontend = true  // R6
        row.servesAgainFrom = .initialising  // as B23; a device that came back was not recorded
        row.rearms = false  // B25
        return row
    }()

    /// The console daemon: primary consoles only (B6).
    public static let xenconsoled: BackendProfile = {
        var row = BackendProfile("xenconsoled", serves: .primaryConsoles, ring: .xenconsoled)
        row.connection = [  // B5, recorded
            .need(.other("ring-ref")), .need(.other("port")), .allow(.other("type"), "xenconsoled"), .attach,
            .read(.other("limit")), .write(.other("tty"), "/dev/pts/0"), .domainPath,
        ]
        row.rearms = true  // B7
        return row
    }()

    /// The console daemon with `--overflow-data=discard`.
    public static let xenconsoledDiscarding: BackendProfile = {
        var habits = PeerRingHabits.xenconsoled
        habits.sink = .dropsHalf  // A27
        var row = BackendProfile("xenconsoled, discard", serves: .primaryConsoles, ring: habits)
        row.connection = xenconsoled.connection
        row.rearms = xenconsoled.rearms
        return row
    }()

    /// krata's daemon, v0.0.20: primary consoles (peers.md 1.2).
    public static let krata: BackendProfile = {
        // A27: retries every 100 µs, takes nothing meanwhile, drops what its queue has no room for; A31: logs and goes on.
        var habits = PeerRingHabits(
            afterProducing: .ifMoved,
            afterConsuming: .ifMoved,
            full: .polls,
            nonsense: .trusts,
            piece: 1024,
            limit: 100 * 256
        )
        habits.sink = .dropsNewest
        habits.servesWhileWaiting = false
        var row = BackendProfile("krata", serves: .primaryConsoles, ring: habits)
        row.connection = [.need(.other("ring-ref")), .need(.other("port")), .attach]  // B28
        return row
    }()
}

extension PeerRingHabits {
    /// QEMU: takes the whole ring, and beyond the limit throws away the middle; a short write's tail waits for the guest's next event
    /// (A27, R15); looks at the index once an event (A17); ignores indices that make no sense (A31).
    public static let qemu: PeerRingHabits = {
        var habits = PeerRingHabits(
            afterProducing: .ifMoved,
            afterConsuming: .ifMoved,
            full: .waits,
            nonsense: .ignores,
            piece: 1024,
            limit: 1_048_576
        )
        habits.sink = .dropsMiddle
        habits.retriesSink = false
        return habits
    }()

    /// xenconsoled: pieces of 80 bytes towards the guest (A21, A27), stops at the limit, which is none where the store says nothing (A28),
    /// 30 events in 200 ms (A29), ignores indices that make no sense (A31).
    public static let xenconsoled: PeerRingHabits = {
        var habits = PeerRingHabits(
            afterProducing: .ifMoved,
            afterConsuming: .ifMoved,
            full: .waits,
            nonsense: .ignores,
            piece: 80,
            limit: .max
        )
        habits.eventsPerPeriod = 30
        return habits
    }()
}
