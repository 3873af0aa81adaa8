// SPDX-License-Identifier: MIT

/// The states an exhaustive exploration has been in, shared by its runs.
///
/// A state is kept as a hash of 64 bits. Two of a million states share one with a probability of one in 10^7, and then the second is
/// not looked at.
final class VisitedStates {
    private var hashes: Set<Int> = []

    var count: Int { hashes.count }

    /// Adds a state; false if it was there.
    func insert(_ hash: Int) -> Bool {
        hashes.insert(hash).inserted
    }
}
