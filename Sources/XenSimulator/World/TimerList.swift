// SPDX-License-Identifier: MIT

/// What is to happen at a moment of virtual time.
struct TimerList: Hashable {
    enum Purpose: Hashable {
        /// The actor's machine asked for it.
        case machine
        /// A daemon's scanner asked for it.
        case scan
        /// A stalled actor goes on.
        case resume
        /// A ring that was full is looked at again (A22).
        case poll
        /// Nobody has taken a guest's bytes for as long as their policy allows.
        case overflow
        /// A daemon that crashed starts anew, a client comes back.
        case restart
        /// Channels that were closed are opened again.
        case reopen
    }

    struct Entry: Hashable {
        var deadline: Duration
        var actor: Int
        var purpose: Purpose
    }

    private var entries: [Entry] = []

    var isEmpty: Bool { entries.isEmpty }

    mutating func start(_ entry: Entry) {
        stop(entry.actor, entry.purpose)
        entries.append(entry)
    }

    mutating func stop(_ actor: Int, _ purpose: Purpose) {
        if entries.isEmpty { return }
        entries.removeAll { $0.actor == actor && $0.purpose == purpose }
    }

    mutating func stopAll(of actor: Int) {
        if entries.isEmpty { return }
        entries.removeAll { $0.actor == actor }
    }

    /// Takes the entry with the earliest deadline, the oldest of several.
    mutating func takeNext() -> Entry? {
        guard var best = entries.indices.first else { return nil }
        for index in entries.indices where entries[index].deadline < entries[best].deadline { best = index }
        return entries.remove(at: best)
    }

    func hash(into hasher: inout Hasher, now: Duration) {
        for entry in entries {
            hasher.combine(entry.deadline - now)
            hasher.combine(entry.actor)
            hasher.combine(entry.purpose)
        }
    }
}
