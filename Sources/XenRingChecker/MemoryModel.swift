// SPDX-License-Identifier: MIT

import XenExploration

/// Weakly ordered memory as a value: RC11, which is C11 and Swift's model without load buffering.
///
/// Every atomic location keeps all stores ever made to it, in the order of modifications. A load may return any of
/// them that is not older than what its strand knows of. Knowledge passes from a release to an acquire that reads
/// its message, through fences, and (for locations, not for data) between full fences in the order in which they
/// were made. Plain bytes have no such freedom: an access to one that does not happen after the conflicting one is a
/// race.
///
/// For the barriers of kernels each strand keeps apart what it knows when it reads and when it writes: `rmb` adds to
/// the former alone, and `wmb` lets later stores tell of own writes alone.
struct MemoryModel: Hashable, Sendable {
    /// The most locations and strands there can be.
    static let maximumLocations = 8
    static let maximumStrands = 4
    private static let stampStep: UInt32 = 1 << 16

    /// What one strand knows.
    struct Observer: Hashable, Sendable {
        var whenReading = Knowledge()
        var whenWriting = Knowledge()
        /// Learnt by loads that did not acquire; an acquire fence makes it count.
        var pending = Knowledge()
        /// What a relaxed store tells of: that of the last release fence or `wmb`.
        var released = Knowledge()
        /// Own stores and data writes.
        var written = Knowledge()

        mutating func learn(_ knowledge: Knowledge) {
            whenReading.join(knowledge)
            whenWriting.join(knowledge)
        }

        func combine(into hash: inout FixedHash) {
            whenReading.combine(into: &hash)
            if whenWriting != whenReading { whenWriting.combine(into: &hash) }
            pending.combine(into: &hash)
            released.combine(into: &hash)
            written.combine(into: &hash)
        }
    }

    /// A data byte: its value, and who touched it last.
    struct DataByte: Hashable, Sendable {
        var value: UInt8 = 0
        var writer = 0
        var write: UInt16 = 0
        var reads: SIMD4<UInt16> = .zero
    }

    private(set) var messages: [[Message]] = []
    private(set) var observers: [Observer]
    private(set) var data: [DataByte]
    private var fenceView: SIMD8<UInt32> = .zero
    /// Whether a store waits for the loads that a branch before it depends on, as every CPU has it and no language.
    let controlDependencies: Bool

    init(strands: Int, dataBytes: Int, controlDependencies: Bool) {
        precondition(strands <= MemoryModel.maximumStrands, "too many strands")
        observers = Array(repeating: Observer(), count: strands)
        data = Array(repeating: DataByte(), count: dataBytes)
        self.controlDependencies = controlDependencies
    }

    /// Adds a location that every strand knows the first value of, and returns its number.
    mutating func addLocation(_ value: UInt32) -> Int {
        precondition(messages.count < MemoryModel.maximumLocations, "too many locations")
        messages.append([Message(value: value, stamp: MemoryModel.stampStep, knowledge: Knowledge())])
        for strand in observers.indices {
            observers[strand].whenReading.view[messages.count - 1] = MemoryModel.stampStep
            observers[strand].whenWriting.view[messages.count - 1] = MemoryModel.stampStep
        }
        return messages.count - 1
    }

    /// The value at the end of the order of modifications.
    func newest(_ location: Int) -> UInt32 {
        messages[location].last?.value ?? 0
    }

    func combine(into hash: inout FixedHash) {
        for location in messages {
            hash.combine(location.count)
            for message in location { message.combine(into: &hash) }
        }
        for observer in observers { observer.combine(into: &hash) }
        for byte in data {
            hash.combine(UInt64(byte.value) << 24 | UInt64(byte.writer) << 16 | UInt64(byte.write))
            hash.combine(
                UInt64(byte.reads[0]) << 48 | UInt64(byte.reads[1]) << 32
                    | UInt64(byte.reads[2]) << 16 | UInt64(byte.reads[3])
            )
        }
        for lane in 0..<8 { hash.combine(UInt64(fenceView[lane])) }
    }
}

// MARK: - Atomic accesses

extension MemoryModel {
    /// Loads; which of the visible messages is a choice, 0 being the newest. Returns the value and how many are newer.
    mutating func load(
        _ location: Int,
        _ ordering: AccessOrdering,
        by strand: Int,
        _ choices: inout Choices
    ) -> (value: UInt32, newer: Int) {
        let all = messages[location]
        let oldest = observers[strand].whenReading.view[location]
        var visible = 0
        while visible < all.count, all[all.count - 1 - visible].stamp >= oldest { visible += 1 }
        let newer = choices.choose(below: max(visible, 1))
        let message = all[all.count - 1 - newer]
        observers[strand].whenReading.view[location] = message.stamp
        observers[strand].whenWriting.view[location] = max(
            message.stamp,
            observers[strand].whenWriting.view[location]
        )
        observers[strand].pending.join(message.knowledge)
        if ordering == .acquire {
            observers[strand].learn(message.knowledge)
        } else if controlDependencies {
            observers[strand].whenWriting.join(message.knowledge)
        }
        return (message.value, newer)
    }

    /// Stores; where in the order of modifications is a choice, 0 being its end.
    mutating func store(
        _ value: UInt32,
        _ location: Int,
        _ ordering: AccessOrdering,
        by strand: Int,
        _ choices: inout Choices
    ) {
        let known = max(
            observers[strand].whenWriting.view[location],
            observers[strand].whenReading.view[location]
        )
        var later = 0
        while later < messages[location].count, messages[location][messages[location].count - 1 - later].stamp > known {
            later += 1
        }
        let place = messages[location].count - choices.choose(below: later + 1)
        let stamp = freeStamp(location, at: place)
        observers[strand].whenReading.view[location] = stamp
        observers[strand].whenWriting.view[location] = stamp
        observers[strand].written.view[location] = stamp
        var knowledge = observers[strand].released
        if ordering == .release {
            knowledge.join(observers[strand].whenReading)
            knowledge.join(observers[strand].whenWriting)
        }
        knowledge.view[location] = stamp
        messages[location].insert(Message(value: value, stamp: stamp, knowledge: knowledge), at: place)
    }

    private func freeStamp(_ location: Int, at place: Int) -> UInt32 {
        let before = messages[location][place - 1].stamp
        guard place < messages[location].count else { return before + MemoryModel.stampStep }
        let after = messages[location][place].stamp
        precondition(after - before > 1, "too many stores were put between two others")
        return before + (after - before) / 2
    }

    mutating func barrier(_ barrier: Barrier, by strand: Int) {
        switch barrier {
        case .full:
            observers[strand].learn(observers[strand].pending)
            observers[strand].learn(observers[strand].whenWriting)
            observers[strand].learn(observers[strand].whenReading)
            observers[strand].learn(Knowledge(view: fenceView))
            fenceView = observers[strand].whenReading.view
            observers[strand].released.join(observers[strand].whenReading)
        case .acquire:
            observers[strand].learn(observers[strand].pending)
        case .release:
            observers[strand].released.join(observers[strand].whenReading)
            observers[strand].released.join(observers[strand].whenWriting)
        case .read:
            observers[strand].whenReading.join(observers[strand].pending)
        case .write:
            observers[strand].released.join(observers[strand].written)
        case .compiler:
            break
        }
    }

    /// Everything `strand` knows: what a notification through the hypervisor carries along.
    func everything(knownBy strand: Int) -> Knowledge {
        observers[strand].whenReading.joined(observers[strand].whenWriting).joined(observers[strand].pending)
    }

    mutating func learn(_ knowledge: Knowledge, by strand: Int) {
        observers[strand].learn(knowledge)
    }
}

// MARK: - Data

extension MemoryModel {
    /// Writes bytes from `start` on. Returns the first that another strand may be touching at the same time.
    mutating func write(_ bytes: [UInt8], at start: Int, by strand: Int) -> DataRace? {
        observers[strand].whenReading.clock[strand] &+= 1
        let number = observers[strand].whenReading.clock[strand]
        observers[strand].whenWriting.clock[strand] = number
        observers[strand].written.clock[strand] = number
        var race: DataRace?
        let known = observers[strand].whenWriting.clock
        for (position, value) in bytes.enumerated() {
            let offset = start + position
            if data[offset].writer != strand, data[offset].write > known[data[offset].writer] {
                race = race ?? DataRace(offset: offset, other: data[offset].writer, otherWrote: true, wrote: true)
            }
            for reader in 0..<4 where reader != strand && data[offset].reads[reader] > known[4 + reader] {
                race = race ?? DataRace(offset: offset, other: reader, otherWrote: false, wrote: true)
            }
            data[offset].value = value
            data[offset].writer = strand
            data[offset].write = number
        }
        return race
    }

    /// Reads bytes. Returns them, and the first that another strand may be writing at the same time.
    mutating func read(_ range: Range<Int>, by strand: Int) -> (bytes: [UInt8], race: DataRace?) {
        observers[strand].whenReading.clock[4 + strand] &+= 1
        let number = observers[strand].whenReading.clock[4 + strand]
        observers[strand].whenWriting.clock[4 + strand] = number
        var race: DataRace?
        let known = observers[strand].whenReading.clock
        for offset in range {
            if data[offset].writer != strand, data[offset].write > known[data[offset].writer] {
                race = race ?? DataRace(offset: offset, other: data[offset].writer, otherWrote: true, wrote: false)
            }
            data[offset].reads[strand] = number
        }
        return (range.map { data[$0].value }, race)
    }
}

/// Two strands touch a byte, at least one of them writes, and nothing orders the two.
struct DataRace: Hashable, Sendable {
    let offset: Int
    let other: Int
    let otherWrote: Bool
    let wrote: Bool
}
