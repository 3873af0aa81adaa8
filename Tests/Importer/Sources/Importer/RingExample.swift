// SPDX-License-Identifier: MIT

import XenRing

/// Bytes through a page that two sides share.
func ringExample(page: SharedPage) throws {
    var guest = ConsoleRing(fresh: page, as: .frontend)
    var host = try ConsoleRing(attaching: page, as: .backend)

    let written = try guest.output.write("hello".utf8.span)
    // Notify the event channel if written > 0.
    precondition(written == 5)

    let received = try [UInt8](capacity: 64) { output in
        _ = try host.input.read(appendingTo: &output)
    }
    print(String(decoding: received, as: UTF8.self))  // hello
    precondition(received == [UInt8]("hello".utf8))
}
