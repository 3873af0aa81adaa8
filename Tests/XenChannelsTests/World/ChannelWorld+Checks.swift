// SPDX-License-Identifier: MIT

import XenBus
import XenChannels
import XenExploration
import XenHypervisor
import XenInterface
import XenStore

// What always holds, and what holds when nothing is left to do.
extension ChannelWorld {
    mutating func checkStep(
        _ step: WorldStep,
        backendWas before: BackendHandshake.State?
    ) throws(PropertyViolation) {
        let now = readStates()
        if step != .story, now != states {
            if now.frontend != states.frontend {
                try require(
                    ChannelWorld.isLegalFrontend(from: states.frontend, to: now.frontend),
                    "the frontend went from \(states.frontend?.text ?? "-") to \(now.frontend?.text ?? "-")"
                )
            }
            if now.backend != states.backend {
                try require(
                    ChannelWorld.isLegalBackend(
                        from: states.backend,
                        to: now.backend,
                        announcing: before == .announcing
                    ),
                    "the backend went from \(states.backend?.text ?? "-") to \(now.backend?.text ?? "-")"
                )
            }
        }
        states = now
        try require(hypervisor.leaks(of: .dom0).mappings.count <= 1, "two mappings at a time")
        try require(hypervisor.openPorts(of: .dom0).count <= 1, "two ports of one channel at a time")
        if guest.isConnected {
            try require(guest.grant != nil && guest.port != nil, "connected without a page")
            try require(guest.machine?.state == .connected, "connected in \(guest.machine?.state as Any)")
        }
        if daemon?.machine?.state == .connected {
            try require(daemon?.attachment != nil && daemon?.isOpen == true, "connected without a ring")
        }
    }

    /// B14 to B18, B33, R5, R6; and back to 1 for a device of an earlier life (B16a).
    static func isLegalFrontend(from: StoreValue?, to: StoreValue?) -> Bool {
        switch (from?.text, to?.text) {
        case ("1", "3"), ("3", "4"), ("3", "5"), ("4", "5"), ("1", "6"), ("3", "6"), ("4", "6"), ("5", "6"): true
        case ("3", "1"), ("4", "1"), ("5", "1"), ("6", "1"): true
        // A directory that was made anew at that moment: what follows reads it again.
        case ("1", "5"): true
        default: false
        }
    }

    /// B22 to B25, R5, R6; a backend that begins says 2 wherever the one before it ended.
    static func isLegalBackend(from: StoreValue?, to: StoreValue?, announcing: Bool) -> Bool {
        switch (from?.text, to?.text) {
        case (.some, "2"): announcing || from == "6"
        case ("2", "4"), ("2", "5"), ("4", "5"), ("2", "6"), ("4", "6"), ("5", "6"), ("1", "6"): true
        // An unplug that came between a look and a write: it is noticed by `online` right after.
        case ("5", "4"): true
        // A directory that was made anew at that moment: what follows reads it again.
        case ("1", "4"), ("1", "5"): true
        default: false
        }
    }

    /// What must hold when nothing but a timer could still happen.
    mutating func checkQuiescence() throws(PropertyViolation) {
        let now = readStates()
        try require(guest.isStuckOnNothing, "the guest is not at rest")
        try require(server.transactionCount == 0, "an open transaction")
        guard isPlugged else {
            try require(now == StatePair(), "nodes of a removed device: \(now)")
            try require(guest.machine == nil && daemon?.machine == nil, "a machine of a removed device")
            try checkNothingIsHeld()
            return
        }
        guard let daemon else { return }
        try require(daemon.isStuckOnNothing, "the daemon is not at rest")
        if guest.isConnected {
            try require(now == StatePair(frontend: "4", backend: "4"), "one side connected only: \(now)")
            try require(daemon.machine?.state == .connected, "the backend is \(daemon.machine?.state as Any)")
            try require(daemon.attachment?.ring == guest.grant, "the backend has mapped another ring")
            try require(daemon.attachment?.port == guest.port, "the backend has bound another port")
            try require(hypervisor.openPorts(of: .dom0).count == 1, "no port")
        } else {
            try require(daemon.attachment == nil, "the backend is attached to nobody")
            try require(now.backend == "6", "the backend is at \(now.backend?.text ?? "-")")
            try require(guest.machine == nil || guest.machine?.state == .awaitingReturn, "the frontend hangs")
            try checkNothingIsHeld()
        }
    }

    private func checkNothingIsHeld() throws(PropertyViolation) {
        var copy = self
        copy.endDeferred()
        try require(copy.hypervisor.leaks().isEmpty, "left over: \(copy.hypervisor.leaks())")
    }

    /// What must hold when all has been taken down.
    mutating func checkTakenDown() throws(PropertyViolation) {
        try require(hypervisor.leaks().isEmpty, "left over: \(hypervisor.leaks())")
        try require(server.transactionCount == 0, "an open transaction")
        try require(server.watchCount == 0, "\(server.watchCount) watches")
        try require(readStates() == StatePair(), "nodes of a removed device")
    }
}
