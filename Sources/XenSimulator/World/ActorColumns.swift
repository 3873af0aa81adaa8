// SPDX-License-Identifier: MIT

import XenBus

/// Who has to do with a channel, as the name of its column begins.
enum ChannelRole: String, CaseIterable {
    case frontend = "fe"
    case backend = "be"
    case agent
    case client
}

/// Which actor stands in which column of a trace: by name, or by channel and role, from which the name is made when it is to be seen.
struct ActorColumns {
    private var count = 0
    private var named: [String: Int] = [:]
    private var ofChannels: [DeviceKey: ChannelColumns] = [:]

    /// The names of all columns.
    var names: [String] {
        var names = [String](repeating: "", count: count)
        for (name, column) in named { names[column] = name }
        for (key, columns) in ofChannels {
            for role in ChannelRole.allCases {
                if let column = columns[role] { names[column] = "\(role.rawValue)\(key.frontend)/\(key.device)" }
            }
        }
        return names
    }

    /// The column of a name; the next one if there is none of that name.
    mutating func column(named name: String) -> Int {
        if let column = named[name] { return column }
        named[name] = count
        count += 1
        return count - 1
    }

    /// The column of one who has to do with a channel; the next one if there is none yet.
    mutating func column(of role: ChannelRole, _ key: DeviceKey) -> Int {
        var columns = ofChannels[key] ?? ChannelColumns()
        if let column = columns[role] { return column }
        columns[role] = count
        ofChannels[key] = columns
        count += 1
        return count - 1
    }
}

/// The columns of those who have to do with one channel.
private struct ChannelColumns {
    private var columns: (Int32, Int32, Int32, Int32) = (-1, -1, -1, -1)

    subscript(role: ChannelRole) -> Int? {
        get {
            let column =
                switch role {
                case .frontend: columns.0
                case .backend: columns.1
                case .agent: columns.2
                case .client: columns.3
                }
            return column < 0 ? nil : Int(column)
        }
        set {
            let column = newValue.map { Int32($0) } ?? -1
            switch role {
            case .frontend: columns.0 = column
            case .backend: columns.1 = column
            case .agent: columns.2 = column
            case .client: columns.3 = column
            }
        }
    }
}
