// SPDX-License-Identifier: MIT

import XenChannels
import XenRing

/// The bytes of one side of a channel, for this program itself: what a handler of a backend or guest is given.
///
/// Belongs to the thread that runs the reactor, and so do the tasks that use it. The functions that do not wait can be called from anywhere in
/// that thread; they return 0 when there is nothing, or no room. Those that wait do the same when they need not wait. What is read comes from the
/// ring itself, and what was written is in the ring. A task that is cancelled while it waits has neither taken nor given a byte that it was not
/// told of.
///
/// In a guest, what is not read stays in the ring. In a backend a full ring freezes a processor of a Linux guest (R13), so that the channel's
/// `ChannelService` holds for a handler as it does for a client: with `.backlog` bytes wait here, up to the limit, once the ring is full; who
/// takes none for as long as the policy allows loses the middle, or is disconnected, which ends the stream. What was peeked at before that can
/// still be taken, until the next look.
///
/// The other side is told of bytes that moved once, at the end of the loop's turn, or by `flush()`.
///
/// A stream goes on when the other side closes and comes again; it ends when the channel is closed, or by `finish()`.
///
/// ```swift
/// var buffer = [UInt8](repeating: 0, count: 2048)
/// while let count = await stream.read(into: &buffer) {
///     guard await stream.write(buffer, 0..<count) == count else { break }
/// }
/// ```
@safe
public final class ChannelStream {
    /// Its backlog holds what was in the ring when that was full or left.
    @exclusivity(unchecked) var relay: RingRelay
    let service: ChannelService
    var ring: AttachedRing? {
        didSet { unsafe attached = ring.map { unsafe Unmanaged.passUnretained($0) } }
    }
    /// The same ring, where bytes move: to go to it by this one counts no references. `ring` keeps it.
    @exclusivity(unchecked) private var attached: Unmanaged<AttachedRing>?
    let reactor: Reactor
    @exclusivity(unchecked) var isDeferred = false
    private let reader = ChannelWaiter()
    private let writer = ChannelWaiter()
    @exclusivity(unchecked) private var isReaderWaiting = false
    @exclusivity(unchecked) private var isWriterWaiting = false
    /// Bytes that were peeked at and not taken since.
    @exclusivity(unchecked) var peekedCount = 0
    /// As many of them were taken when the policy struck.
    @exclusivity(unchecked) var takenEarly = 0
    /// Bytes that were peeked at and taken early, but not by whoever peeked.
    var droppedPeeked: UInt64 = 0
    /// The ring is full, and nobody takes bytes.
    @exclusivity(unchecked) var isStalled = false
    var overflow = OverflowState()
    /// Bytes wait for room: some peers never say that they made any (A22).
    private var roomTimer: Reactor.Timer?
    var untakenAtEnd = 0
    private var watch = ViolationWatch()
    var onViolation: (RingViolation) -> Void = { _ in }
    var onOverflow: () -> Void = {}
    /// The handler is done with the channel.
    var onDone: () -> Void = {}

    /// Whether it has ended: nothing can be written any more, and nothing be read but what was there.
    @exclusivity(unchecked) public internal(set) var isClosed = false
    /// Called in the loop when there may be more to read, more room, or neither any more: for those who do not wait in a task.
    public var onReady: () -> Void = {}

    init(
        on reactor: Reactor,
        service: ChannelService = ChannelService(overflow: .blockForever, durability: .ring)
    ) {
        self.reactor = reactor
        self.service = service
        unsafe relay = RingRelay(limit: .max, policy: service.overflow)
    }

    deinit {
        roomTimer?.cancel()
        overflow.timer?.cancel()
    }

    /// Whether a task waits for bytes or room.
    var isWaitedFor: Bool { unsafe isReaderWaiting || isWriterWaiting }

    /// Whether the other side is connected.
    public var isConnected: Bool { ring != nil }

    // MARK: Without waiting

    /// Copies the next bytes into the front of `buffer` without taking them, and returns how many.
    ///
    /// They are the other side's: copied once, they are not looked at in the ring again (A33).
    public func peek(into buffer: inout MutableSpan<UInt8>) -> Int {
        let count: Int
        if unsafe !relay.backlog.isEmpty {
            count = peekBacklog(into: &buffer)
        } else if let attached = unsafe attached {
            count = unsafe attached._withUnsafeGuaranteedRef { unsafe relay.peek(&$0.ring, into: &buffer) }
        } else {
            count = 0
        }
        unsafe peekedCount = count
        if unsafe takenEarly > 0 { forgetTakenEarly() }
        return count
    }

    /// Takes `count` bytes that were peeked at. Traps if that is more than were.
    public func advance(by count: Int) {
        precondition(unsafe count >= 0 && count <= peekedCount, "only bytes that were peeked at can be taken")
        unsafe peekedCount -= count
        if unsafe takenEarly > 0 { return unsafe takenEarly -= count }
        take(count)
        if unsafe isStalled && count > 0 { endStall() }
    }

    /// Takes bytes that were peeked at from where they are.
    func take(_ count: Int) {
        guard let attached = unsafe attached, unsafe relay.backlog.isEmpty else {
            // The ring may have been left since. If its index made no sense then, the bytes went with it.
            unsafe relay.handedOut(min(count, relay.backlog.count))
            // There is room for what is in it now.
            return lookLater()
        }
        unsafe attached._withUnsafeGuaranteedRef { ring in
            if unsafe relay.advance(by: count, in: &ring.ring) { note(ring) }
        }
    }

    /// Reads into the front of `buffer` and returns how many bytes.
    public func read(into buffer: inout MutableSpan<UInt8>) -> Int {
        let count = peek(into: &buffer)
        if count > 0 { advance(by: count) }
        return count
    }

    /// Writes from the front of `bytes` and returns how many there was room for.
    public func write(_ bytes: Span<UInt8>) -> Int {
        guard let attached = unsafe attached, unsafe !isClosed else { return 0 }
        return unsafe attached._withUnsafeGuaranteedRef { ring in
            let count = unsafe min(relay.room(in: &ring.ring), bytes.count)
            guard count > 0 else { return 0 }
            if unsafe relay.send(bytes.extracting(first: count), to: &ring.ring) { note(ring) }
            return count
        }
    }

    /// Tells the other side now of what moved, and not at the end of the turn.
    public func flush() {
        unsafe attached?._withUnsafeGuaranteedRef { $0.flush() }
    }

    /// Ends the stream, and closes the channel through the protocol.
    public func finish() {
        guard unsafe !isClosed else { return }
        close()
        onDone()
    }

    // MARK: Waiting

    /// Reads into the front of `buffer`, at least one byte, and returns how many; nil when the stream has ended or the task is cancelled.
    ///
    /// Traps if `buffer` is empty, and if another task waits to read already.
    @inlinable
    public nonisolated(nonsending) func read(into buffer: inout [UInt8]) async -> Int? {
        precondition(!buffer.isEmpty, "room for a byte")
        while true {
            var span = buffer.mutableSpan
            let count = read(into: &span)
            if count > 0 { return count }
            guard await becomesReadable() else { return nil }
        }
    }

    /// Writes all of `bytes`; returns how many were written, fewer only when the stream has ended or the task is cancelled.
    ///
    /// Traps if it has to wait and another task waits to write already.
    @inlinable
    @discardableResult
    public nonisolated(nonsending) func write(_ bytes: [UInt8]) async -> Int {
        await write(bytes, 0..<bytes.count)
    }

    /// Writes that part of `bytes`, and traps if there is no such part; see `write(_:)`.
    @inlinable
    @discardableResult
    public nonisolated(nonsending) func write(_ bytes: [UInt8], _ range: Range<Int>) async -> Int {
        var done = write(bytes.span.extracting(range))
        while done < range.count {
            guard await becomesWritable() else { return done }
            done += write(bytes.span.extracting((range.lowerBound + done)..<range.upperBound))
        }
        return done
    }

    /// Waits until there is something to read; false when the stream has ended or the task is cancelled.
    ///
    /// Traps if another task waits for that already.
    public nonisolated(nonsending) func becomesReadable() async -> Bool {
        guard !isReadable else { return true }
        guard unsafe !isClosed else { return false }
        flush()
        unsafe isReaderWaiting = true
        let isReady = await reader.wait()
        unsafe isReaderWaiting = false
        return unsafe isReady && (!isClosed || isReadable)
    }

    /// Waits until there is room to write; false when the stream has ended or the task is cancelled.
    ///
    /// Traps if another task waits for that already.
    public nonisolated(nonsending) func becomesWritable() async -> Bool {
        guard unsafe !isClosed else { return false }
        guard !isWritable else { return true }
        flush()
        unsafe isWriterWaiting = true
        keepLooking()
        let isReady = await writer.wait()
        unsafe isWriterWaiting = false
        return unsafe isReady && !isClosed
    }

    /// Runs another task with this stream in the loop's thread: one that writes, say, while this one reads. May be cancelled from anywhere.
    @discardableResult
    public func task(_ body: @escaping @Sendable (ChannelStream) async -> Void) -> Task<Void, Never> {
        // It runs in the thread that the stream belongs to.
        nonisolated(unsafe) let stream = self
        return Task(executorPreference: reactor.executor) { await unsafe body(stream) }
    }

    // MARK: The ring

    private var isReadable: Bool {
        guard unsafe relay.backlog.isEmpty else { return !overflow.hasDisconnected }
        guard let attached = unsafe attached else { return false }
        // By the index as it is now, as reading does: of bytes that were seen before it went out of range none can be read, and who is told
        // of them would ask for ever.
        return unsafe attached._withUnsafeGuaranteedRef { unsafe ((try? $0.ring.input.count()) ?? 0) > 0 }
    }

    private var isWritable: Bool {
        guard let attached = unsafe attached else { return false }
        return unsafe attached._withUnsafeGuaranteedRef { unsafe relay.room(in: &$0.ring) > 0 }
    }

    private func peekBacklog(into buffer: inout MutableSpan<UInt8>) -> Int {
        // What came behind a gap is not for whoever was cut off before it.
        guard !overflow.hasDisconnected else { return 0 }
        let count = unsafe min(relay.backlog.count, buffer.count)
        unsafe relay.backlog.withBytes { bytes in
            for index in 0..<count { buffer[index] = bytes[index] }
        }
        return count
    }

    func note(_ ring: AttachedRing) {
        ring.note(true)
        lookLater()
    }

    /// Has `runDeferred()` called at the turn's end.
    func lookLater() {
        guard unsafe !isDeferred else { return }
        unsafe isDeferred = true
        reactor.later(self)
    }

    /// Wakes whoever waits for what there is now.
    func wake() {
        if unsafe isReaderWaiting && (isClosed || isReadable) { reader.resume(returning: true) }
        if unsafe isWriterWaiting && (isClosed || isWritable) { writer.resume(returning: true) }
        unsafe watch.note(relay.violation)
        if let violation = watch.take() { onViolation(violation) }
        onReady()
    }

    /// Another attachment begins.
    func beginAttachment() {
        watch = ViolationWatch()
        wake()
        if unsafe isWriterWaiting { keepLooking() }
    }

    private func keepLooking() {
        let timer = roomTimer ?? Reactor.Timer { [unowned self] in lookForRoom() }
        roomTimer = timer
        reactor.start(timer, after: RingRelay.roomPollInterval)
    }

    private func lookForRoom() {
        guard unsafe isWriterWaiting, ring != nil else { return }
        wake()
        if !isWritable { keepLooking() }
    }
}
