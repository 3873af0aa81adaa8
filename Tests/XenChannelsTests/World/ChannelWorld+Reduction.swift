// SPDX-License-Identifier: MIT

import XenBus
import XenChannels
import XenInterface

// Which requests are one step.
//
// Of the requests of a step, the order of at most one to anything else may matter (Lipton's movers), so that each order left out leads to a
// state that another order leads to as well:
// - A transaction is atomic by what the store promises: whoever meets a conflict begins anew, so only its commit has a place in the order.
// - A read of a node that only the side itself still writes is the same at whatever moment, and its reply changes nothing but the script,
//   unless it is the last one.
extension ChannelWorld {
    var isCoarse: Bool { grain == .coarse }

    /// Whether a side's next request belongs to the same step as the one before it.
    func goesOn(from last: PendingRequest, to next: PendingRequest) -> Bool {
        guard grain != .finest else { return false }
        if next.transaction != .none { return true }
        guard case .read(let path) = last.request, case .read(let following) = next.request else { return false }
        return isToolstackDone && ChannelWorld.ownReads[path]?.contains(following) == true
    }

    /// What a side asked for and nobody sees before the store tells: the coarse grain does it at once. To map, to unmap and to end a grant
    /// are steps of their own.
    func isPrivate(_ task: ChannelFrontend.Action) -> Bool {
        if case .prepare = task { true } else { false }
    }

    func isPrivate(_ task: ChannelBackend.Action) -> Bool {
        if case .open = task { true } else { false }
    }

    private var isToolstackDone: Bool {
        story.allSatisfy {
            switch $0 {
            case .plug, .unplug, .remove, .republish: false
            case .closeFrontend, .rebootGuest, .stopDaemon, .restartDaemon, .startDaemon, .settle: true
            }
        }
    }

    /// Reads of the own directory, each with what follows it in the same script. A pair that the end of one script and the beginning of
    /// another could be as well is left out.
    private static let ownReads: [StorePath: [StorePath]] = {
        let frontend = paths.frontend
        let backend = paths.backend
        let scripts = [
            ["backend", "backend-id", "state", "name"].map { frontend.appending($0) },
            [backend] + ["frontend", "frontend-id", "online"].map { backend.appending($0) },
            ["state", "name", "connection", "kind", "path"].map { backend.appending($0) },
            ["state", "online"].map { backend.appending($0) },
        ]
        var pairs: [StorePath: [StorePath]] = [:]
        for script in scripts {
            for (path, following) in zip(script, script.dropFirst()) { pairs[path, default: []].append(following) }
        }
        return pairs
    }()
}
