// SPDX-License-Identifier: MIT

/// The actors that have something to do: any of them can be picked in constant time, and idle ones cost nothing.
///
/// It is never copied: at every step it is only looked at.
struct ReadyList: ~Copyable {
    private(set) var members: [Int] = []
    /// Where each actor stands in `members`; -1 if it does not.
    private var positions: [Int32] = []

    var count: Int { members.count }
    var isEmpty: Bool { members.isEmpty }

    func contains(_ actor: Int) -> Bool {
        actor >= 0 && actor < positions.count && positions[actor] >= 0
    }

    mutating func insert(_ actor: Int) {
        while positions.count <= actor { positions.append(-1) }
        guard positions[actor] < 0 else { return }
        positions[actor] = Int32(members.count)
        members.append(actor)
    }

    mutating func remove(_ actor: Int) {
        guard contains(actor) else { return }
        let position = Int(positions[actor])
        positions[actor] = -1
        let last = members.removeLast()
        if last != actor {
            members[position] = last
            positions[last] = Int32(position)
        }
    }

    func hash(into hasher: inout Hasher) {
        hasher.combine(members)
        hasher.combine(positions)
    }

    /// The member at `index` when `actor`, one of them, is not counted.
    func member(_ index: Int, without actor: Int) -> Int {
        members[index < Int(positions[actor]) ? index : index + 1]
    }
}
