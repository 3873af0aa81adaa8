// SPDX-License-Identifier: MIT

public import XenBus
public import XenInterface

/// The nodes that libxl makes for a new guest before it makes devices, as far as channels and their frontends look at them.
///
/// `/local/domain/N` and `device` below it belong to domain 0, so that a guest cannot make devices of its own; `data`, `error`
/// and some of `control` are the guest's.
public struct DomainSkeleton: Hashable, Sendable {
    /// The guest.
    public var domain: DomainID
    /// Its name, unique on the host.
    public var name: String
    /// Its UUID, in the form of `04646222-b09c-4bb2-9fe4-c2873075e5e7`: the last component of `/vm/…`.
    public var uuid: String
    /// `pv`, `pvh` or `hvm`.
    public var type: String
    /// Its memory in KiB; nil leaves those nodes out.
    public var memory: UInt64?
    /// How many virtual CPUs it has.
    public var cpuCount: Int

    /// Describes a guest. Traps if `uuid` cannot be a node's name.
    public init(
        domain: DomainID,
        name: String,
        uuid: String,
        type: String = "pv",
        memory: UInt64? = nil,
        cpuCount: Int = 1
    ) {
        precondition(StorePath(uuid) != nil && !uuid.contains("/"), "not a UUID")
        self.domain = domain
        self.name = name
        self.uuid = uuid
        self.type = type
        self.memory = memory
        self.cpuCount = cpuCount
    }

    /// libxl's first transaction: removes what an older domain of that number left, and makes the directories.
    public var creation: [StoreStep] {
        roots + named + directories + features
    }

    /// libxl's second transaction, when the guest's memory is built: numbers, and where the guest's own store page is.
    ///
    /// libxl writes further nodes about kernel image and start time, which no channel looks at.
    public func details(storePort: EventChannelPort, storeFrame: FrameNumber) -> [StoreStep] {
        var steps: [StoreStep] = []
        if let memory {
            steps += [
                write("memory/static-max", StoreValue(decimal: memory)),
                write("memory/target", StoreValue(decimal: memory)),
                write("memory/videoram", "0"),
            ]
        }
        steps += [
            write("domid", StoreValue(decimal: domain.rawValue)),
            write("store/port", StoreValue(decimal: storePort.rawValue)),
            write("store/ring-ref", StoreValue(decimal: storeFrame.rawValue)),
        ]
        return steps + (0..<cpuCount).map { write("cpu/\($0)/availability", "online") }
    }

    /// What follows the second transaction, outside of any: from then on the guest can talk to the store (D23). Devices are made after it (R4).
    public func introduction(storePort: EventChannelPort, storeFrame: FrameNumber) -> StoreRequest {
        .introduce(domain, storeFrame, storePort)
    }

    /// What libxl removes after the last device, outside of any transaction.
    public var removal: [StoreStep] {
        [
            StoreStep(.remove(vm), tolerating: [.noEntry]),
            StoreStep(.remove(home), tolerating: [.noEntry]),
            StoreStep(.remove(.toolstack(domain)), tolerating: [.noEntry]),
            StoreStep(.remove(home.appending("hvmloader")), tolerating: [.noEntry]),
        ]
    }

    private var home: StorePath { .domain(domain) }
    private var vm: StorePath { StorePath.root.appending("vm").appending(uuid) }
    private var readable: StorePermissions { .owned(by: .dom0, readableBy: domain) }
    private var guestOwned: StorePermissions { StorePermissions(owner: domain) }
    private var hidden: StorePermissions { StorePermissions(owner: .dom0) }

    private var roots: [StoreStep] {
        root(home, readable) + root(vm, readable) + root(.toolstack(domain), hidden)
            + directory(StorePath.toolstack(domain).appending("device"), hidden)
    }

    private var named: [StoreStep] {
        [
            write("vm", StoreValue(vm.text)), write("name", StoreValue(name)),
            StoreStep(.write(vm.appending("name"), StoreValue(name))),
        ]
    }

    private var directories: [StoreStep] {
        let dom0 = ["cpu", "memory", "device"].flatMap { directory(home.appending($0), readable) }
        let suspend = directory(home.appending("device/suspend/event-channel"), guestOwned)
        let control = directory(home.appending("control"), readable)
        let guest = [
            "control/shutdown", "control/feature-poweroff", "control/feature-reboot", "control/feature-suspend",
            "control/sysrq", "data", "drivers", "feature", "attr", "error",
        ]
        return dom0 + suspend + control + guest.flatMap { directory(home.appending($0), guestOwned) }
    }

    private var features: [StoreStep] {
        [
            StoreStep(.write(vm.appending("uuid"), StoreValue(uuid))),
            StoreStep(.write(vm.appending("name"), StoreValue(name))),
            write("control/platform-feature-multiprocessor-suspend", "1"),
            write("control/platform-feature-xs_reset_watches", "1"),
            StoreStep(.write(StorePath.toolstack(domain).appending("type"), StoreValue(type))),
        ]
    }

    private func write(_ name: String, _ value: StoreValue) -> StoreStep {
        StoreStep(.write(home.appending(name), value))
    }

    private func root(_ path: StorePath, _ permissions: StorePermissions) -> [StoreStep] {
        [StoreStep(.remove(path), tolerating: [.noEntry])] + directory(path, permissions)
    }

    /// libxl makes directories by writing nothing into them.
    private func directory(_ path: StorePath, _ permissions: StorePermissions) -> [StoreStep] {
        [StoreStep(.write(path, "")), StoreStep(.setPermissions(path, permissions))]
    }
}
