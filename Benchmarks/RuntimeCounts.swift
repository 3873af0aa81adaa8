// SPDX-License-Identifier: MIT

import Glibc
import Synchronization

private typealias Retain = @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer?
private typealias RetainMany = @convention(c) (UnsafeMutableRawPointer?, UInt32) -> UnsafeMutableRawPointer?
private typealias Allocate = @convention(c) (UnsafeRawPointer?, Int, Int) -> UnsafeMutableRawPointer?

private let objectCount = Atomic(0)
private let retainCount = Atomic(0)
/// What counting is tried at.
nonisolated(unsafe) private var samples: [AnyObject] = []
nonisolated(unsafe) private var originals: (retain: Retain, retainMany: RetainMany, allocate: Allocate)?

/// How many objects were made, and how often a reference to one was counted, by the whole process.
///
/// The runtime calls these functions through pointers that may be set, as Instruments does; all is slower meanwhile.
/// It has none for strong references made from weak and unowned ones, which are not counted.
struct RuntimeCounts {
    let objects: Int
    let retains: Int

    /// Counts while `body` runs; nil if this runtime cannot be counted.
    static func of(_ body: () -> Void) -> RuntimeCounts? {
        guard let hooks = unsafe hooks else { return nil }
        let before = unsafe (hooks.retain.pointee, hooks.retainMany.pointee, hooks.allocate.pointee)
        unsafe originals = before
        objectCount.store(0, ordering: .relaxed)
        retainCount.store(0, ordering: .relaxed)
        unsafe hooks.retain.pointee = { object in
            retainCount.add(1, ordering: .relaxed)
            return unsafe originals?.retain(object)
        }
        unsafe hooks.retainMany.pointee = { object, count in
            retainCount.add(1, ordering: .relaxed)
            return unsafe originals?.retainMany(object, count)
        }
        unsafe hooks.allocate.pointee = { metadata, size, mask in
            objectCount.add(1, ordering: .relaxed)
            return unsafe originals?.allocate(metadata, size, mask)
        }
        unsafe hooks.isOn.pointee = true
        tryOut()
        body()
        unsafe hooks.isOn.pointee = false
        unsafe (hooks.retain.pointee, hooks.retainMany.pointee, hooks.allocate.pointee) = unsafe before
        return RuntimeCounts(
            objects: objectCount.load(ordering: .relaxed),
            retains: retainCount.load(ordering: .relaxed)
        )
    }

    /// Makes an object and counts a reference, and refuses if that goes unseen: so would all else.
    private static func tryOut() {
        unsafe samples = [Sample()]
        unsafe samples.append(samples[0])
        insist(objectCount.load(ordering: .relaxed) > 0, "objects are counted")
        insist(retainCount.load(ordering: .relaxed) > 0, "references are counted")
        objectCount.store(0, ordering: .relaxed)
        retainCount.store(0, ordering: .relaxed)
    }

    private final class Sample {}

    @unsafe private struct Hooks {
        let retain: UnsafeMutablePointer<Retain>
        let retainMany: UnsafeMutablePointer<RetainMany>
        let allocate: UnsafeMutablePointer<Allocate>
        let isOn: UnsafeMutablePointer<Bool>
    }

    private static var hooks: Hooks? {
        guard let retain = unsafe dlsym(nil, "_swift_retain"), let many = unsafe dlsym(nil, "_swift_retain_n"),
            let allocate = unsafe dlsym(nil, "_swift_allocObject"),
            let isOn = unsafe dlsym(
                nil,
                "_swift_enableSwizzlingOfAllocationAndRefCountingFunctions_forInstrumentsOnly"
            )
        else { return nil }
        return unsafe Hooks(
            retain: retain.assumingMemoryBound(to: Retain.self),
            retainMany: many.assumingMemoryBound(to: RetainMany.self),
            allocate: allocate.assumingMemoryBound(to: Allocate.self),
            isOn: isOn.assumingMemoryBound(to: Bool.self)
        )
    }
}

extension Suite {
    /// What each of many rounds allocates, and how often it counts references: what ten thousand more of them do.
    func count(_ name: String, _ what: String, retains goal: Goal?, _ body: (Int) -> Double) {
        guard wants(name) else { return }
        // What is done once only is done before.
        keep(body(100))
        guard let few = RuntimeCounts.of({ keep(body(100)) }), let many = RuntimeCounts.of({ keep(body(10_100)) })
        else {
            return skip(
                "\(name): \(what)",
                "the runtime's calls cannot be counted, as in a program that has it linked in"
            )
        }
        let objects = Double(many.objects - few.objects) / 10_000
        let retains = Double(many.retains - few.retains) / 10_000
        add(Measurement("\(name): objects \(what)", objects, "1", goal: .atMost(0)))
        add(Measurement("\(name): retains \(what)", retains, "1", goal: goal))
    }
}
