// SPDX-License-Identifier: MIT

extension ChannelConfiguration {
    /// The name by which QEMU knows the channel's character device: `libxl-channel1` (C5).
    public var characterDevice: String { "libxl-channel\(device)" }

    /// The node `output` of the frontend, which tells QEMU where the bytes go: `pty`, or `chardev:libxl-channel1` (C5, R3).
    public var output: String {
        switch connection {
        case .pty: "pty"
        case .socket: "chardev:\(characterDevice)"
        }
    }

    /// The arguments that libxl gives QEMU for the channel (C6, R17).
    ///
    /// For a pty they make a terminal that is never used, since QEMU opens another one for `output` = `pty` (C7). A comma in a path is
    /// doubled, as QEMU wants it; xl cannot express such a path.
    public var qemuArguments: [String] {
        switch connection {
        case .pty: ["-chardev", "pty,id=\(characterDevice)"]
        case .socket(let path):
            [
                "-chardev",
                "socket,id=\(characterDevice),path=\(ChannelConfiguration.escaped(path)),server=on,wait=off",
            ]
        }
    }

    private static func escaped(_ value: String) -> String {
        value.split(separator: ",", omittingEmptySubsequences: false).joined(separator: ",,")
    }
}
