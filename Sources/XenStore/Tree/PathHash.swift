// SPDX-License-Identifier: MIT

/// The hash of a path, made byte by byte from the front, so that a path's hash continues its parent's: FNV-1a.
///
/// The standard library's own hashes differ from run to run; the tree's layout must not.
enum PathHash {
    static let start: UInt64 = 0xCBF2_9CE4_8422_2325

    static func of(_ bytes: Span<UInt8>, count: Int) -> UInt64 {
        var hash = start
        for index in 0..<count {
            hash = step(hash, bytes[index])
        }
        return hash
    }

    static func extend(_ hash: UInt64, _ name: String) -> UInt64 {
        name.utf8.reduce(step(hash, StoreTree.slash), step)
    }

    /// Spreads the bits, so that the low ones can choose the bucket.
    static func mix(_ hash: UInt64) -> UInt64 {
        hash ^ hash >> 32
    }

    private static func step(_ hash: UInt64, _ byte: UInt8) -> UInt64 {
        (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3
    }
}
