// SPDX-License-Identifier: MIT

// A generic ring has no object code until somebody uses it: these functions do, one operation each, over a real
// page, as a kernel without an operating system under it would. `check.sh` compiles them for bare metal and
// looks at what became of each. Where an end lies is the caller's business, so they take its address.

/// What the functions return when the peer's index is out of range.
private let violation = -1

/// How many bytes an end needs.
@c(ring_producer_size)
public func ringProducerSize() -> Int {
    MemoryLayout<RingProducer<SharedPage>>.size
}

/// `ConsoleRing.init(attaching:as:)`; false if an index is out of range.
@c(ring_attach_frontend)
public func ringAttachFrontend(_ page: UnsafeMutableRawPointer, _ console: UnsafeMutableRawPointer) -> Bool {
    do throws(RingViolation) {
        let ring = try ConsoleRing(attaching: unsafe SharedPage(base: page), as: .frontend)
        unsafe console.assumingMemoryBound(to: ConsoleRing<SharedPage>.self).initialize(to: ring)
        return true
    } catch {
        return false
    }
}

/// `RingProducer.write(_:)`
@c(ring_write)
public func ringWrite(
    _ producer: UnsafeMutableRawPointer,
    _ bytes: UnsafeRawPointer,
    _ count: Int
) -> Int {
    let end = unsafe producer.assumingMemoryBound(to: RingProducer<SharedPage>.self)
    let buffer = unsafe UnsafeRawBufferPointer(start: bytes, count: count)
    do throws(RingViolation) {
        return try unsafe end.pointee.write(buffer.bytes)
    } catch {
        return violation
    }
}

/// `RingConsumer.read(into:)`
@c(ring_read)
public func ringRead(
    _ consumer: UnsafeMutableRawPointer,
    _ bytes: UnsafeMutableRawPointer,
    _ count: Int
) -> Int {
    let end = unsafe consumer.assumingMemoryBound(to: RingConsumer<SharedPage>.self)
    let buffer = unsafe UnsafeMutableRawBufferPointer(start: bytes, count: count)
    var span = unsafe buffer.mutableBytes
    do throws(RingViolation) {
        return try unsafe end.pointee.read(into: &span)
    } catch {
        return violation
    }
}

/// `RingConsumer.peek(into:)`
@c(ring_peek)
public func ringPeek(
    _ consumer: UnsafeMutableRawPointer,
    _ bytes: UnsafeMutableRawPointer,
    _ count: Int
) -> Int {
    let end = unsafe consumer.assumingMemoryBound(to: RingConsumer<SharedPage>.self)
    let buffer = unsafe UnsafeMutableRawBufferPointer(start: bytes, count: count)
    var span = unsafe buffer.mutableBytes
    do throws(RingViolation) {
        return try unsafe end.pointee.peek(into: &span)
    } catch {
        return violation
    }
}

/// `RingConsumer.advance(by:)`
@c(ring_advance)
public func ringAdvance(_ consumer: UnsafeMutableRawPointer, _ count: Int) {
    unsafe consumer.assumingMemoryBound(to: RingConsumer<SharedPage>.self).pointee.advance(by: count)
}

/// `RingProducer.needsNotification()`
@c(ring_needs_notification)
public func ringNeedsNotification(_ producer: UnsafeMutableRawPointer) -> Bool {
    unsafe producer.assumingMemoryBound(to: RingProducer<SharedPage>.self).pointee.needsNotification()
}

/// `RingProducer.mayHaveFallenAsleep(since:)`
@c(ring_may_have_fallen_asleep)
public func ringMayHaveFallenAsleep(_ producer: UnsafeMutableRawPointer, _ index: UInt32) -> Bool {
    unsafe producer.assumingMemoryBound(to: RingProducer<SharedPage>.self).pointee
        .mayHaveFallenAsleep(since: RingIndex(index))
}

/// `RingConsumer.maySleep()`; false as well if the producer's index is out of range.
@c(ring_may_sleep)
public func ringMaySleep(_ consumer: UnsafeMutableRawPointer) -> Bool {
    do throws(RingViolation) {
        return try unsafe consumer.assumingMemoryBound(to: RingConsumer<SharedPage>.self).pointee.maySleep()
    } catch {
        return false
    }
}

/// `ConsoleRing.connection`
@c(ring_connection)
public func ringConnection(_ console: UnsafeMutableRawPointer) -> UInt8 {
    unsafe console.assumingMemoryBound(to: ConsoleRing<SharedPage>.self).pointee.connection.rawValue
}

/// `ConsoleRing.echo()`
@c(ring_echo)
public func ringEcho(_ console: UnsafeMutableRawPointer) -> Int {
    do throws(RingViolation) {
        return try unsafe console.assumingMemoryBound(to: ConsoleRing<SharedPage>.self).pointee.echo()
    } catch {
        return violation
    }
}
