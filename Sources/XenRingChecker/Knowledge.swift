// SPDX-License-Identifier: MIT

import XenExploration

/// What an observer knows: how far each location has come, and which data accesses of each strand happened before.
///
/// Knowledge only grows; two pieces of it are joined component by component.

struct Knowledge: Hashable, Sendable {
    /// For each location the stamp of the oldest message that may still be read.
    var view: SIMD8<UInt32> = .zero
    /// For each strand the number of its last known data write (lanes 0 to 3) and data read (lanes 4 to 7).
    var clock: SIMD8<UInt16> = .zero

    mutating func join(_ other: Knowledge) {
        view = pointwiseMax(view, other.view)
        clock = pointwiseMax(clock, other.clock)
    }

    func joined(_ other: Knowledge) -> Knowledge {
        var joined = self
        joined.join(other)
        return joined
    }

    func combine(into hash: inout FixedHash) {
        for lane in 0..<4 {
            hash.combine(UInt64(view[2 * lane]) << 32 | UInt64(view[2 * lane + 1]))
        }
        for half in [0, 4] {
            hash.combine(
                UInt64(clock[half]) << 48 | UInt64(clock[half + 1]) << 32
                    | UInt64(clock[half + 2]) << 16 | UInt64(clock[half + 3])
            )
        }
    }
}

/// One store to a location, in the order of modifications.
struct Message: Hashable, Sendable {
    let value: UInt32
    /// The place in the order of modifications of this location; higher is newer.
    let stamp: UInt32
    /// What a strand learns by acquiring this message.
    let knowledge: Knowledge

    func combine(into hash: inout FixedHash) {
        hash.combine(UInt64(value) << 32 | UInt64(stamp))
        knowledge.combine(into: &hash)
    }
}

/// How an access to an atomic location is ordered.
public enum AccessOrdering: Hashable, Sendable {
    /// Only the location itself is coherent.
    case relaxed
    /// A load that learns all its message has to tell.
    case acquire
    /// A store whose message tells all that the strand knows and did.
    case release
}

/// A stand-alone barrier, of the language or of a kernel.
public enum Barrier: String, Hashable, Sendable {
    /// `atomic_thread_fence(seq_cst)`; a kernel's `mb`.
    case full = "full fence"
    /// `atomic_thread_fence(acquire)`: earlier loads before everything later.
    case acquire = "acquire fence"
    /// `atomic_thread_fence(release)`: everything earlier before later stores.
    case release = "release fence"
    /// A kernel's `rmb`: earlier loads before later loads, and nothing else.
    case read = "rmb"
    /// A kernel's `wmb`: earlier stores before later stores, and nothing else.
    case write = "wmb"
    /// A compiler barrier: the machine does not see it.
    case compiler = "compiler barrier"
}
