// SPDX-License-Identifier: MIT

import XenInterface

/// Which device a port belongs to: found without hashing, since it is looked up at every event.
struct PortTable<Device: AnyObject> {
    private var devices: [Device?] = []

    /// As many as the highest number that was ever used says.
    var count: Int { devices.count }

    subscript(port: EventChannelPort) -> Device? {
        get {
            let index = Int(port.rawValue)
            return index < devices.count ? devices[index] : nil
        }
        set {
            let index = Int(port.rawValue)
            while devices.count <= index { devices.append(nil) }
            devices[index] = newValue
        }
    }
}
