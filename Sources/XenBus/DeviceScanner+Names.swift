// SPDX-License-Identifier: MIT

import XenInterface

// How a scanner reads the paths that its watch tells.
extension DeviceScanner {
    /// What a path below the root names, as far as it goes.
    struct Names {
        var domain: DomainID?
        var device: DeviceID?
        var node = Node.other
        /// How many there are; a guest's own root has no directory for each guest, and counts as named.
        var count: Int
    }

    /// A node of a device's directory, as far as it matters which.
    enum Node {
        case state
        /// One that the own side writes for the other.
        case offered
        case other
    }

    /// What a path below the root names: a guest, its device, a node of that.
    ///
    /// It is read where it lies, since it is read for every event.
    func names(in path: StorePath) -> Names {
        let isBelow = path.isBelow(root)
        return path.text.withBytes { bytes in
            var names = Names(domain: guest, count: guest == nil ? 0 : 1)
            var index = isBelow ? root.text.utf8.count : bytes.count
            while index < bytes.count {
                let start = index + 1
                index = start
                while index < bytes.count, bytes[index] != UInt8(ascii: "/") { index += 1 }
                let name = bytes.extracting(start..<index)
                switch names.count {
                case 0: names.domain = DevicePaths.number(name, UInt16.self).map { DomainID($0) }
                case 1: names.device = DevicePaths.number(name, UInt32.self).map { DeviceID($0) }
                case 2: names.node = node(named: name)
                default: break
                }
                names.count += 1
            }
            return names
        }
    }

    private func node(named name: Span<UInt8>) -> Node {
        if DeviceScanner.is(name, "state") { return .state }
        let isOffered =
            guest == nil
            ? DeviceScanner.is(name, "hotplug-status")
            : DeviceScanner.is(name, "ring-ref") || DeviceScanner.is(name, "port")
        return isOffered ? .offered : .other
    }

    private static func `is`(_ name: Span<UInt8>, _ text: StaticString) -> Bool {
        unsafe name.count == text.utf8CodeUnitCount
            && name.isEqual(to: Span(_unsafeStart: text.utf8Start, count: name.count), count: name.count)
    }
}
