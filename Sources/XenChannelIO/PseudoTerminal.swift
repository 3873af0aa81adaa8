// SPDX-License-Identifier: MIT

import Glibc

/// The master of a pseudo-terminal, and the path of the device that a reader opens.
///
/// The device itself is not kept open: so the master hangs up while nobody reads, and that can be seen. Terminal settings live as long as the
/// master does, and are set through it.
final class PseudoTerminal {
    /// The device: `/dev/pts/3`.
    let path: String
    let master: Descriptor

    /// Makes a terminal in raw mode that nobody has open.
    init() throws(SystemError) {
        var master: Int32 = -1
        var slave: Int32 = -1
        var name = [CChar](repeating: 0, count: 128)
        let isMade = Descriptor.creating {
            guard unsafe openpty(&master, &slave, &name, nil, nil) == 0 else { return false }
            for end in [master, slave] { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
            return true
        }
        guard isMade else { throw SystemError("openpty", "") }
        self.master = Descriptor(master)
        self.master.configure()
        path = String(decoding: name.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
        makeRaw()
        close(slave)
    }

    /// Makes the terminal pass bytes as they are, whatever the last reader left it at.
    func makeRaw() {
        var settings = termios()
        guard unsafe tcgetattr(master.raw, &settings) == 0 else { return }
        unsafe cfmakeraw(&settings)
        _ = unsafe tcsetattr(master.raw, TCSANOW, &settings)
    }
}
