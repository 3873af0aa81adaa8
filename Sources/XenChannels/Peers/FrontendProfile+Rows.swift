// SPDX-License-Identifier: MIT

import XenInterface

// The rows of frontends. Each cell names the fact that it stands on.
extension FrontendProfile {
    /// The rows, each once.
    public static let all: [FrontendProfile] = [linux, linuxConsole, miniOS, windows, mirage, unikraft, edk2]

    private static let opening: [PeerStep] = [.read(.own("backend-id")), .read(.own("backend"))]

    /// Linux, `drivers/tty/hvc/hvc_xen.c`: channels as `/dev/hvc1` and up.
    public static let linux: FrontendProfile = {
        var row = FrontendProfile("Linux hvc_xen", ring: .linux)
        row.finding = .directory  // R8
        row.numbering = .lastDigit  // B14
        row.opening = opening + [.exists(.other(""))]  // R5, R8
        row.failure = [  // R8, B17
            .complain("2 unable to read other end from %.  missing or inaccessible."), .switchState(.closing),
        ]
        row.waitsFor = nil  // B15
        row.publication = [  // B14, R5
            .makeRing, .begin, .writeRing, .writePort, .commit, .switchState(.initialised), .watch(.otherState),
        ]
        row.confirmation = [.switchState(.connected)]  // B15, R5
        row.leavesAt = [.closing, .closed]  // B15
        row.leaving = .closes  // B15, R6
        row.resumes = true  // B16, R11
        return row
    }()

    /// Linux's primary console, `/dev/hvc0`.
    public static let linuxConsole: FrontendProfile = {
        var row = FrontendProfile("Linux hvc_xen, console 0", ring: .linux)
        row.finding = .primaryConsole  // B1
        row.resumes = true  // B16
        return row
    }()

    /// mini-os, `console/xenbus.c`: the consoles of stub domains.
    public static let miniOS: FrontendProfile = {
        var row = FrontendProfile(
            "mini-os",
            // A21, A26, A31
            ring: PeerRingHabits(
                afterProducing: .always,
                afterConsuming: .always,
                full: .drops,
                nonsense: .dies,
                piece: 2048,
                limit: 0
            )
        )
        row.opening = opening
        row.publication = [  // B18: 3 is skipped
            .makeRing, .begin, .writeRing, .writePort, .write(.own("protocol"), "x86_64-abi"), .state(.connected),
            .commit, .watch(.otherState),
        ]
        row.leavesAt = [.closing, .closed]  // B18
        row.leaving = .asks  // B18
        row.resumes = true  // peers.md 1.2
        return row
    }()

    /// The Windows PV drivers, win-xencons.
    public static let windows: FrontendProfile = {
        var row = FrontendProfile(
            "win-xencons",
            // A26 (the request stays pending), A31. No notification was found in its source, by a search for words (A21, G2); a frontend
            // that sends none gets nothing across, so this row notifies.
            ring: PeerRingHabits(
                afterProducing: .ifMoved,
                afterConsuming: .ifMoved,
                full: .waits,
                nonsense: .trusts,
                piece: 2048,
                limit: 0
            )
        )
        row.opening = opening
        row.waitsFor = .initWait  // B19
        row.publication = [  // B19: port before ring
            .makeRing, .read(.other("name")), .read(.other("protocol")), .begin, .writePort, .writeRing, .commit,
            .switchState(.connected),
        ]
        row.leavesAt = [.closing, .closed]  // B19
        row.leaving = .asks  // peers.md 1.2: states 4, 5, 6
        row.resumes = true  // peers.md 1.2
        return row
    }()

    /// mirage-console, for unikernels.
    public static let mirage: FrontendProfile = {
        var row = FrontendProfile(
            "mirage-console",
            // A21, A26 (Activations.after), A31
            ring: PeerRingHabits(
                afterProducing: .always,
                afterConsuming: .always,
                full: .waits,
                nonsense: .trusts,
                piece: 2048,
                limit: 0
            )
        )
        row.opening = opening + [.read(.own("name"))]  // B20: by name
        row.publication = [  // B20: state 4 first, all in one transaction
            .makeRing, .begin, .state(.connected), .writeRing, .writePort, .commit, .watch(.otherState),
        ]
        // It knows no way down (peers.md 1.2: state 4 only).
        return row
    }()

    /// Unikraft's console driver: the primary console only (peers.md 1.2).
    public static let unikraft: FrontendProfile = {
        var row = FrontendProfile(
            "Unikraft",
            // A21: notifies always after producing, never after consuming; A26, A31
            ring: PeerRingHabits(
                afterProducing: .always,
                afterConsuming: .never,
                full: .spins,
                nonsense: .dies,
                piece: 2048,
                limit: 0
            )
        )
        row.finding = .primaryConsole  // B1
        return row
    }()

    /// EDK2's `XenConsoleSerialPortLib`, a guest's firmware.
    public static let edk2: FrontendProfile = {
        var row = FrontendProfile(
            "EDK2",
            // A21, A26, A31
            ring: PeerRingHabits(
                afterProducing: .always,
                afterConsuming: .always,
                full: .spins,
                nonsense: .trusts,
                piece: 2048,
                limit: 0
            )
        )
        row.ring.comparison = .magnitude  // A5: when it reads
        row.finding = .primaryConsole  // B1
        return row
    }()
}

extension PeerRingHabits {
    /// Linux, with the 256 bytes of a terminal's buffer; printk writes 16 (A23). Notifies if bytes were moved (A21), spins (A26, R13), and
    /// refuses indices that make no sense (A31).
    public static let linux = PeerRingHabits(
        afterProducing: .ifMoved,
        afterConsuming: .ifMoved,
        full: .spins,
        nonsense: .ignores,
        piece: 256,
        limit: 0
    )
}
