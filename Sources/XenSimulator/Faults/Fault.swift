// SPDX-License-Identifier: MIT

/// What can go wrong in a simulated world. Each is something that a real host does, but for `droppedEvent`.
public enum Fault: Int, Hashable, Sendable, CaseIterable {
    /// A pending port is noticed late; events sent meanwhile are absorbed by it (E3).
    case eventDelayed
    /// An event without a reason arrives (A19).
    case eventSpurious
    /// An event is lost. Xen never does that (E3): only for showing what a world without that promise would look like.
    case droppedEvent
    /// No port can be allocated or bound: `ENOSPC` (E2).
    case portRefused
    /// A page cannot be mapped: `GNTST_no_device_space`.
    case mapFailed
    /// A watch event is noticed late, and merged with equal ones that fire meanwhile (D31).
    case watchDelayed
    /// A watch event arrives once more (D31).
    case watchRepeated
    /// A transaction's commit meets a conflict: `EAGAIN` (D38).
    case storeAgain
    /// A write, watch or transaction is over the guest's quota: `EQUOTA` (D41).
    case storeQuota
    /// A read or write is refused: `EACCES`.
    case storeAccessDenied
    /// A node that is there is answered as if it were not: `ENOENT`.
    case storeNoEntry
    /// A removal in a transaction meets what others made meanwhile: `EIO`, as C xenstored answers (R27).
    case storeConflict
    /// The backend's daemon ends at once, and is started again later. The kernel closes what it held.
    case backendCrash
    /// The toolstack ends in the middle of something, and starts it anew.
    case toolstackCrash
    /// A guest dies; its domain is destroyed while the backend may still map its pages (F6).
    case guestCrash
    /// A guest is paused, and resumed later.
    case guestPause
    /// A guest is saved, and restored as another domain (R11).
    case saveRestore
    /// A guest closes a channel in order, and opens it again later.
    case frontendClose
    /// The backend closes a channel in order, and serves it again later.
    case backendClose
    /// The backend's daemon does nothing for a while.
    case backendStall
    /// A client or an agent does nothing for a while.
    case clientSlow
    /// A client closes its socket, and comes back later.
    case clientVanish
    /// A client or an agent sends many thousand bytes that nobody asked for, as fast as they are taken.
    case clientFlood
    /// A guest writes numbers of its choice into the indices of its pages.
    case hostileIndices
    /// A guest writes over the data of its pages.
    case hostileData
    /// A guest writes nonsense into the nodes it may write.
    case hostileNodes

    /// The word for it in lists and recipes.
    public var name: String { String(describing: self) }

    /// Whether the fault may keep a channel from being connected, or from being connected again, for good.
    var isDamaging: Bool {
        switch self {
        case .droppedEvent, .portRefused, .mapFailed, .storeQuota, .storeAccessDenied, .storeNoEntry, .guestCrash,
            .hostileIndices, .hostileData, .hostileNodes:
            true
        case .eventDelayed, .eventSpurious, .watchDelayed, .watchRepeated, .storeAgain, .storeConflict, .backendCrash,
            .toolstackCrash, .guestPause, .saveRestore, .frontendClose, .backendClose, .backendStall, .clientSlow, .clientVanish,
            .clientFlood:
            false
        }
    }
}

extension Fault {
    /// Named groups of faults, as the command line takes them, besides the names of single ones.
    public static let groups: [(name: String, faults: [Fault])] = [
        ("events", [.eventDelayed, .eventSpurious]),
        ("watches", [.watchDelayed, .watchRepeated]),
        ("conflicts", [.storeAgain, .storeConflict]),
        ("store", [.storeAgain, .storeConflict, .storeQuota, .storeAccessDenied, .storeNoEntry]),
        ("resources", [.portRefused, .mapFailed]),
        ("crashes", [.backendCrash, .toolstackCrash, .guestCrash]),
        ("stalls", [.guestPause, .backendStall]),
        ("saving", [.saveRestore]),
        ("closing", [.frontendClose, .backendClose]),
        ("clients", [.clientSlow, .clientVanish, .clientFlood]),
        ("hostile", [.hostileIndices, .hostileData, .hostileNodes]),
        ("all", Fault.allCases.filter { $0 != .droppedEvent }),
        ("none", []),
    ]

    /// The faults of a name: a group's, or the one that is called so; nil for any other word.
    public static func named(_ name: some StringProtocol) -> [Fault]? {
        if let group = groups.first(where: { $0.name == name }) { return group.faults }
        return allCases.first { $0.name == name }.map { [$0] }
    }
}
