// SPDX-License-Identifier: MIT

import XenInterface

/// One entry of a node's permission list as the daemon keeps it: `struct xs_permissions`.
///
/// The domain is 32 bits wide, since SET_PERMS takes any number and GET_PERMS gives it back.
struct PermissionEntry: Hashable, Sendable {
    var domain: Int32
    var access: StoreAccess
    /// Set once the domain was seen to be gone, or newer than the node: the entry stays, and counts no more (D15).
    var isIgnored = false
}

/// The permission lists of all nodes, each stored once and counted: most nodes of a host share a handful (R1, R2).
struct PermissionTable: Hashable, Sendable {
    private var lists: [[PermissionEntry]] = []
    private var counts: [Int32] = []
    private var numbers: [[PermissionEntry]: Int32] = [:]
    private var free: [Int32] = []

    subscript(_ number: Int32) -> [PermissionEntry] {
        lists[Int(number)]
    }

    /// The owner: the domain of the first entry.
    func owner(_ number: Int32) -> Int32 {
        lists[Int(number)][0].domain
    }

    func count(_ number: Int32) -> Int {
        lists[Int(number)].count
    }

    /// The number of `list`, which is not empty, with one count for the caller.
    mutating func intern(_ list: [PermissionEntry]) -> Int32 {
        if let number = numbers[list] {
            counts[Int(number)] += 1
            return number
        }
        let number: Int32
        if let reused = free.popLast() {
            number = reused
            lists[Int(number)] = list
            counts[Int(number)] = 1
        } else {
            number = Int32(lists.count)
            lists.append(list)
            counts.append(1)
        }
        numbers[list] = number
        return number
    }

    mutating func retain(_ number: Int32) {
        counts[Int(number)] += 1
    }

    mutating func release(_ number: Int32) {
        counts[Int(number)] -= 1
        guard counts[Int(number)] == 0 else { return }
        numbers[lists[Int(number)]] = nil
        lists[Int(number)] = []
        free.append(number)
    }
}
