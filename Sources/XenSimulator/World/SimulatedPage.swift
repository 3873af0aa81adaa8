// SPDX-License-Identifier: MIT

import XenInterface
public import XenRing

/// A page of a simulated domain, with the ledgers of its two rings.
final class PageFrame {
    let owner: DomainID
    let number: FrameNumber
    let memory: SharedPage
    var output: RingLedger {
        get { unsafe outputLedger }
        _modify { yield unsafe &outputLedger }
    }
    var input: RingLedger {
        get { unsafe inputLedger }
        _modify { yield unsafe &inputLedger }
    }
    // A ledger reaches nothing else while it changes: that is not checked at every ring operation.
    @exclusivity(unchecked) private var outputLedger = RingLedger(isOutput: true)
    @exclusivity(unchecked) private var inputLedger = RingLedger(isOutput: false)
    /// The owner uses it no more, though others may still map it.
    var isAbandoned = false
    /// The owner has taken the page back: whoever still uses it, does so wrongly.
    var isFreed = false

    init(owner: DomainID, number: FrameNumber) {
        self.owner = owner
        self.number = number
        let base = UnsafeMutableRawPointer.allocate(byteCount: SharedPage.size, alignment: 16)
        unsafe base.initializeMemory(as: UInt8.self, repeating: 0, count: SharedPage.size)
        memory = unsafe SharedPage(base: base)
    }

    deinit {
        unsafe memory.baseAddress.deallocate()
    }

    /// A copy of what is in it.
    var bytes: [UInt8] { unsafe [UInt8](UnsafeRawBufferPointer(start: memory.baseAddress, count: SharedPage.size)) }

    /// Whether bytes are in it that nobody will ever read.
    var holdsLostBytes: Bool { isAbandoned && (output.count > 0 || input.count > 0) }

    /// The page looks as if so many bytes had gone through both of its rings.
    func begin(at index: UInt32) {
        for offset in [3072, 3076, 3080, 3084] { memory.storeRelease(index, at: offset) }
        output.begin(at: RingIndex(index))
        input.begin(at: RingIndex(index))
    }

    /// Somebody other than the ring's ends writes into the page: from here on its contents prove nothing.
    func distrust() {
        output.isTrusted = false
        input.isTrusted = false
    }
}

/// One side's access to a page, until it is taken away.
final class PageAccess {
    let frame: PageFrame
    let role: ConsoleRole
    /// False from the unmapping on.
    var isLive = true
    /// What it has stored last into the index that it produces, and into the one that it consumes.
    private var published: RingIndex?
    private var givenBack: RingIndex?
    private let journal: Journal

    init(to frame: PageFrame, as role: ConsoleRole, journal: Journal) {
        self.frame = frame
        self.role = role
        self.journal = journal
    }

    @inline(__always)
    func use() {
        if !isLive || frame.isFreed { fail("uses a page after it was \(isLive ? "freed" : "unmapped")") }
    }

    /// Stores to an index of a page that somebody scribbled on: only what this side did itself can be held against it.
    func noteUntrustedStore(_ index: RingIndex, at offset: Int) -> String? {
        let isProducer = offset == RingLayout.consoleOut.producerIndex || offset == RingLayout.consoleIn.producerIndex
        let before = isProducer ? published : givenBack
        if isProducer { published = index } else { givenBack = index }
        let ring = isProducer ? role.output : role.input
        guard offset == (isProducer ? ring.producerIndex : ring.consumerIndex) else {
            return "writes at offset \(offset), which is not its index"
        }
        guard let before, index - before > ring.capacity else { return nil }
        return "moves its index from \(before.rawValue) to \(index.rawValue)"
    }

    func fail(_ text: String) {
        journal.fail("the \(role) of domain \(frame.owner)'s page \(frame.number) \(text)")
    }
}

/// The memory that rings of a simulated world are made over: one side's view of a page, which checks every access.
///
/// Each side may write its own two indices, forward only, and the data of the ring it produces; it may read the data that was produced
/// for it and not yet consumed. The backend alone writes the `connection` byte. Nobody may touch a page that was unmapped or freed.
/// What breaks a rule ends the run with a failure.
public struct SimulatedPage: RingMemory {
    let access: PageAccess

    private var memory: SharedPage { access.frame.memory }

    /// Loads an index.
    public func loadAcquire(at offset: Int) -> UInt32 {
        check(index: offset)
        return memory.loadAcquire(at: offset)
    }

    /// Loads an index.
    public func loadRelaxed(at offset: Int) -> UInt32 {
        check(index: offset)
        return memory.loadRelaxed(at: offset)
    }

    /// Stores an index, which must be the side's own and go forward.
    public func storeRelease(_ value: UInt32, at offset: Int) {
        access.use()
        let index = RingIndex(value)
        let problem =
            access.frame.output.isTrusted
            ? ledgerStore(index, at: offset) : access.noteUntrustedStore(index, at: offset)
        if let problem { access.fail(problem) }
        memory.storeRelease(value, at: offset)
    }

    private func ledgerStore(_ index: RingIndex, at offset: Int) -> String? {
        switch (access.role, offset) {
        case (.frontend, RingLayout.consoleOut.producerIndex): access.frame.output.publish(index)
        case (.frontend, RingLayout.consoleIn.consumerIndex): access.frame.input.giveBack(index)
        case (.backend, RingLayout.consoleIn.producerIndex): access.frame.input.publish(index)
        case (.backend, RingLayout.consoleOut.consumerIndex): access.frame.output.giveBack(index)
        case (.frontend, _), (.backend, _): "writes at offset \(offset), which is not its index"
        }
    }

    /// Loads the `connection` byte.
    public func loadAcquireByte(at offset: Int) -> UInt8 {
        access.use()
        if offset != ConsoleConnection.offset { access.fail("reads a byte at offset \(offset)") }
        return memory.loadAcquireByte(at: offset)
    }

    /// Stores the `connection` byte; the backend's alone.
    public func storeReleaseByte(_ value: UInt8, at offset: Int) {
        access.use()
        if offset != ConsoleConnection.offset || access.role != .backend {
            access.fail("writes a byte at offset \(offset)")
        }
        memory.storeReleaseByte(value, at: offset)
    }

    /// Orders nothing: there is one thread.
    public func fence() {}

    /// Copies into the ring that this side produces.
    public func copyIn(_ source: UnsafeRawBufferPointer, at offset: Int) {
        access.use()
        let problem =
            switch access.role {
            case .frontend: access.frame.output.noteWrite(at: offset, count: source.count)
            case .backend: access.frame.input.noteWrite(at: offset, count: source.count)
            }
        if let problem { return access.fail(problem) }
        unsafe memory.copyIn(source, at: offset)
    }

    /// Copies out of the ring that this side consumes.
    public func copyOut(at offset: Int, into destination: UnsafeMutableRawBufferPointer) {
        access.use()
        let problem =
            switch access.role {
            case .frontend: access.frame.input.noteRead(at: offset, count: destination.count)
            case .backend: access.frame.output.noteRead(at: offset, count: destination.count)
            }
        if let problem {
            access.fail(problem)
            // Whoever reads where he may not gets zeros, and the run is over anyway.
            _ = unsafe destination.initializeMemory(as: UInt8.self, repeating: 0)
            return
        }
        unsafe memory.copyOut(at: offset, into: destination)
    }

    private func check(index offset: Int) {
        access.use()
        let isIndex = offset >= RingLayout.consoleIn.consumerIndex && offset <= RingLayout.consoleOut.producerIndex
        if !isIndex || offset & 3 != 0 { access.fail("reads at offset \(offset), which is no index") }
    }
}

/// A console's ends of one side over a simulated page.
final class RingBox {
    @exclusivity(unchecked) var ring: ConsoleRing<SimulatedPage>
    let access: PageAccess
    /// Whether bytes had moved when it was joined: whoever moved them may have died before it said so.
    let wasUsed: Bool

    /// The frontend's: a page that nobody has seen.
    init(fresh access: PageAccess) {
        self.access = access
        wasUsed = false
        unsafe ring = ConsoleRing(fresh: SimulatedPage(access: access), as: access.role)
    }

    /// A page that may have been in use for long: the backend's, or that of a guest's primary console.
    init(attaching access: PageAccess) throws(RingViolation) {
        self.access = access
        let ring = try ConsoleRing(attaching: SimulatedPage(access: access), as: access.role)
        switch access.role {
        case .backend: ring.setConnection(.connected)
        case .frontend: break
        }
        wasUsed = ring.input.index != RingIndex(0) || ring.output.index != RingIndex(0)
        unsafe self.ring = ring
    }
}

/// Where checks all over the world write what they found; the first finding counts.
final class Journal {
    private let slot = Slot<String?>(nil)
    var failure: String? { slot.value }
    var hasFailed: Bool { slot.value != nil }

    func fail(_ text: String) {
        if !hasFailed { slot.value = text }
    }
}
