// SPDX-License-Identifier: MIT

import XenInterface

/// All that the hypervisor keeps about one domain number; the array of domains has one for every number up to the highest in use.
struct Domain: Hashable, Sendable {
    var status: DomainStatus = .absent
    var limits = DomainLimits()
    var events = EventTable()
    var grants = GrantStore()
    var mappings = MappingStore()
    /// The pages of a zombie that others still map, with the number of mappings of each.
    var heldPages: [HeldPage] = []

    var hasFreePort: Bool { !events.free.isEmpty || events.slots.count <= limits.maximumPort }

    init() {}

    init(limits: DomainLimits) {
        status = .alive
        self.limits = limits
    }
}

struct HeldPage: Hashable, Sendable {
    var frame: FrameNumber
    var count: Int
}

/// The ports of a domain. Slot 0 is never used (E1).
struct EventTable: Hashable, Sendable {
    struct Slot: Hashable, Sendable {
        var state = EventChannelState.closed
        var isPending = false
        var isMasked = false
    }

    var slots = [Slot()]
    /// Closed ports below `slots.count`.
    var free = PortSet()
    /// Ports that are pending and not masked.
    var ready = PortSet()
    /// The port that was delivered last; the next search begins behind it.
    var lastDelivered = 0

    /// Takes the lowest free port (E1).
    mutating func allocate(_ state: EventChannelState) -> Int {
        if let number = free.first(from: 1) {
            free.remove(number)
            slots[number] = Slot(state: state)
            return number
        }
        slots.append(Slot(state: state))
        free.reserve(slots.count)
        ready.reserve(slots.count)
        return slots.count - 1
    }

    mutating func close(_ number: Int) {
        slots[number] = Slot()
        ready.remove(number)
        free.insert(number)
    }

    func isOpen(_ number: Int) -> Bool {
        number < slots.count && slots[number].state != .closed
    }

    /// Sets the pending bit; nil if that is no news, otherwise whether no other port was ready.
    mutating func raise(_ number: Int) -> Bool? {
        guard !slots[number].isPending else { return nil }
        slots[number].isPending = true
        guard !slots[number].isMasked else { return nil }
        let isFirst = ready.isEmpty
        ready.insert(number)
        return isFirst
    }

    mutating func takeNext() -> Int? {
        guard !ready.isEmpty, let number = ready.first(from: lastDelivered + 1) ?? ready.first(from: 0) else {
            return nil
        }
        ready.remove(number)
        slots[number].isPending = false
        lastDelivered = number
        return number
    }
}

/// The grants a domain has made. References below 8 are the builder's (F2).
struct GrantStore: Hashable, Sendable {
    static let reserved = 8
    static let entriesPerFrame = 512

    var entries = [GrantEntry?](repeating: nil, count: reserved)
    /// References that were ended, the last one on top: it is given out next, as Linux does.
    var free: [Int] = []

    /// How many references the table has room for without growing: entries of 8 bytes in whole pages (F1).
    var size: Int {
        (entries.count + GrantStore.entriesPerFrame - 1) / GrantStore.entriesPerFrame * GrantStore.entriesPerFrame
    }

    func entry(_ reference: GrantReference) -> GrantEntry? {
        let index = Int(reference.rawValue)
        return index < entries.count ? entries[index] : nil
    }

    mutating func add(_ entry: GrantEntry, maximum: Int) -> Int? {
        if let index = free.popLast() {
            entries[index] = entry
            return index
        }
        guard entries.count < maximum else { return nil }
        entries.append(entry)
        return entries.count - 1
    }

    mutating func end(_ index: Int) {
        entries[index] = nil
        if index >= GrantStore.reserved { free.append(index) }
    }

    mutating func count(_ change: Int, reference: GrantReference, readOnly: Bool) {
        let index = Int(reference.rawValue)
        if readOnly {
            entries[index]?.readers += change
        } else {
            entries[index]?.writers += change
        }
    }
}

/// What a domain has mapped, by handle number.
struct MappingStore: Hashable, Sendable {
    struct Slot: Hashable, Sendable {
        var generation: UInt32
        var mapping: GrantMapping?
    }

    var slots: [Slot] = []
    var free: [Int] = []

    /// The handle that the next mapping gets; nil above `maximum`.
    mutating func allocate(maximum: Int) -> GrantHandle? {
        if let number = free.popLast() {
            slots[number].generation &+= 1
            return GrantHandle(number: UInt32(number), generation: slots[number].generation)
        }
        guard slots.count < maximum else { return nil }
        slots.append(Slot(generation: 0, mapping: nil))
        return GrantHandle(number: UInt32(slots.count - 1), generation: 0)
    }

    mutating func remove(_ mapping: GrantMapping) -> Bool {
        let number = Int(mapping.handle.number)
        guard number < slots.count, slots[number].mapping == mapping else { return false }
        slots[number].mapping = nil
        free.append(number)
        return true
    }
}
