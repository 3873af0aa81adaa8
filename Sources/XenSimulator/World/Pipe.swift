// SPDX-License-Identifier: MIT

import XenChannels

/// The two directions between a device and the program at its end: a socket with its buffers, or an agent's standard input and output.
final class Pipe {
    /// How many bytes fit each direction.
    static let capacity = 4096

    /// Bytes from the device to the program.
    var outward: ByteQueue {
        unsafeAddress { unsafe outwardSlot.reading }
        unsafeMutableAddress { unsafe outwardSlot.writing }
    }
    /// Bytes from the program to the device.
    var inward: ByteQueue {
        unsafeAddress { unsafe inwardSlot.reading }
        unsafeMutableAddress { unsafe inwardSlot.writing }
    }
    /// The actor of the device.
    let device: Int
    /// The actor of the program.
    let program: Int
    /// The program is gone: it takes nothing any more, and sends nothing more than what it has sent.
    var isHungUp = false
    private let outwardSlot = Slot(ByteQueue())
    private let inwardSlot = Slot(ByteQueue())

    init(device: Int, program: Int) {
        self.device = device
        self.program = program
    }

    var outwardRoom: Int { isHungUp ? 0 : Pipe.capacity - outward.count }
    var inwardRoom: Int { Pipe.capacity - inward.count }
}
