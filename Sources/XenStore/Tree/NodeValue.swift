// SPDX-License-Identifier: MIT

/// What a node holds: up to 14 bytes, as most nodes do, in the entry itself, and more in memory of their own.
///
/// An array for each of many small nodes would take as much as all the rest of them.
enum NodeValue: Hashable, Sendable {
    case short(UInt64, UInt32, UInt16, count: UInt8)
    case long([UInt8])

    static var empty: NodeValue { .short(0, 0, 0, count: 0) }

    /// Takes bytes as they are.
    init(_ bytes: [UInt8]) {
        guard bytes.count <= 14 else {
            self = .long(bytes)
            return
        }
        var (first, second): (UInt64, UInt64) = (0, 0)
        for index in bytes.indices.reversed() {
            let byte = UInt64(bytes[index])
            if index < 8 { first = first << 8 | byte } else { second = second << 8 | byte }
        }
        self = .short(
            first,
            UInt32(truncatingIfNeeded: second),
            UInt16(truncatingIfNeeded: second >> 32),
            count: UInt8(bytes.count)
        )
    }

    /// How many bytes it holds.
    var count: Int {
        switch self {
        case .short(_, _, _, let count): Int(count)
        case .long(let bytes): bytes.count
        }
    }

    /// The bytes as they were taken.
    var bytes: [UInt8] {
        switch self {
        case .short(let first, let second, let third, let count):
            let words = (first.littleEndian, (UInt64(second) | UInt64(third) << 32).littleEndian)
            return unsafe withUnsafeBytes(of: words) {
                unsafe [UInt8](UnsafeRawBufferPointer(rebasing: $0[..<Int(count)]))
            }
        case .long(let bytes): return bytes
        }
    }
}
