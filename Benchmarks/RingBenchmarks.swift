// SPDX-License-Identifier: MIT

import Synchronization
import XenRing

/// The ring in one thread: a write and a read of the same bytes.
enum RingBenchmarks {
    static func run(in suite: Suite) {
        guard suite.wants("ring/write+read/") else { return }
        for size in [1, 16, 64, 256, 1024, 2048] {
            let count = max(2000, (suite.isQuick ? 4_000_000 : 20_000_000) / (size + 60))
            let bench = RingBench(size: size)
            bench.verify()
            suite.compare(
                "ring/write+read/\(size)",
                unit: "ns",
                ours: { bench.ours(count) },
                peers: [
                    ("memcpy of the same bytes", nil, { bench.copies(count) }),
                    ("a byte at a time", byteGoal(size), { bench.byteAtATime(count, isVector: false) }),
                    ("a byte at a time, vectorised", nil, { bench.byteAtATime(count, isVector: true) }),
                ]
            )
        }
    }

    static func count(in suite: Suite) {
        guard suite.wants("ring/counted/") else { return }
        for size in [1, 64, 1024] {
            let bench = RingBench(size: size)
            suite.count("ring/counted", "of a write and a read of \(size)", retains: .atMost(0)) { bench.ours($0) }
        }
    }

    /// Ours in parts of the byte-at-a-time ring: 10 times faster at 64 bytes, 30 times at 256 and more.
    private static func byteGoal(_ size: Int) -> Goal? {
        size >= 256 ? .atMost(1.0 / 30) : size >= 64 ? .atMost(0.1) : nil
    }
}

/// Two ends on one page, and what others would do with the same page.
final class RingBench {
    private let size: Int
    private let page: SharedPage
    private var source: [UInt8]
    private var target: [UInt8]

    init(size: Int) {
        self.size = size
        let memory = UnsafeMutableRawPointer.allocate(byteCount: SharedPage.size, alignment: SharedPage.size)
        unsafe memory.initializeMemory(as: UInt8.self, repeating: 0, count: SharedPage.size)
        page = unsafe SharedPage(base: memory)
        source = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        target = [UInt8](repeating: 0, count: size)
    }

    deinit {
        unsafe page.baseAddress.deallocate()
    }

    func verify() {
        _ = ours(3)
        insist(source == target, "what comes out went in")
        for isVector in [false, true] {
            target = [UInt8](repeating: 0, count: size)
            _ = byteAtATime(3, isVector: isVector)
            insist(source == target, "what comes out went in")
        }
    }

    func ours(_ count: Int) -> Double {
        var producer = RingProducer(fresh: page, layout: .consoleOut)
        var consumer = RingConsumer(fresh: page, layout: .consoleOut)
        page.storeRelease(0, at: RingLayout.consoleOut.producerIndex)
        page.storeRelease(0, at: RingLayout.consoleOut.consumerIndex)
        let start = nanoseconds()
        do {
            try RingBench.pump(count, source, &target, &producer, &consumer)
        } catch {
            refuse("\(error)")
        }
        return Double(nanoseconds() - start) / Double(count)
    }

    @inline(never)
    private static func pump(
        _ count: Int,
        _ source: [UInt8],
        _ target: inout [UInt8],
        _ producer: inout RingProducer<SharedPage>,
        _ consumer: inout RingConsumer<SharedPage>
    ) throws(RingViolation) {
        let bytes = source.span
        var output = target.mutableSpan
        for _ in 0..<count {
            _ = try producer.write(bytes)
            _ = try consumer.read(into: &output)
        }
    }

    /// The limit: the bytes into the page and out of it, without a ring.
    func copies(_ count: Int) -> Double {
        let base = unsafe page.baseAddress
        let time = unsafe source.withUnsafeBytes { source in
            unsafe target.withUnsafeMutableBytes { target in
                seconds {
                    for _ in 0..<count {
                        unsafe copy(to: base + 1024, from: source.baseAddress, size)
                        unsafe copy(to: target.baseAddress, from: UnsafeRawPointer(base + 1024), size)
                    }
                }
            }
        }
        return time / Double(count) * 1e9
    }

    @inline(never)
    private func copy(to target: UnsafeMutableRawPointer?, from source: UnsafeRawPointer?, _ count: Int) {
        guard let target = unsafe target, let source = unsafe source else { return }
        unsafe target.copyMemory(from: source, byteCount: count)
    }

    /// The algorithm of Linux, mini-os and QEMU: each byte masked and moved for itself, both indices read from the page.
    ///
    /// A compiler may make vectors of the loops, as this one does and the kernels' do not; `isVector` false keeps it from that by
    /// moving each byte with an atomic access, which costs no instruction more.
    func byteAtATime(_ count: Int, isVector: Bool) -> Double {
        let layout = RingLayout.consoleOut
        page.storeRelease(0, at: layout.producerIndex)
        page.storeRelease(0, at: layout.consumerIndex)
        let start = nanoseconds()
        unsafe source.withUnsafeBytes { source in
            unsafe target.withUnsafeMutableBytes { target in
                for _ in 0..<count {
                    if isVector {
                        unsafe writeBytes(source, layout)
                        unsafe readBytes(target, layout)
                    } else {
                        unsafe writeEachByte(source, layout)
                        unsafe readEachByte(target, layout)
                    }
                }
            }
        }
        return Double(nanoseconds() - start) / Double(count)
    }

    private func writeBytes(_ source: UnsafeRawBufferPointer, _ layout: RingLayout) {
        let base = unsafe page.baseAddress + layout.data
        var produced = page.loadRelaxed(at: layout.producerIndex)
        let consumed = page.loadAcquire(at: layout.consumerIndex)
        var index = 0
        while index < source.count, produced &- consumed < layout.capacity {
            unsafe base.storeBytes(
                of: source[index],
                toByteOffset: Int(produced & (layout.capacity &- 1)),
                as: UInt8.self
            )
            produced = produced &+ 1
            index += 1
        }
        page.storeRelease(produced, at: layout.producerIndex)
    }

    private func readBytes(_ target: UnsafeMutableRawBufferPointer, _ layout: RingLayout) {
        let base = unsafe page.baseAddress + layout.data
        var consumed = page.loadRelaxed(at: layout.consumerIndex)
        let produced = page.loadAcquire(at: layout.producerIndex)
        var index = 0
        while index < target.count, consumed != produced {
            unsafe target[index] = base.load(
                fromByteOffset: Int(consumed & (layout.capacity &- 1)),
                as: UInt8.self
            )
            consumed = consumed &+ 1
            index += 1
        }
        page.storeRelease(consumed, at: layout.consumerIndex)
    }

    private func writeEachByte(_ source: UnsafeRawBufferPointer, _ layout: RingLayout) {
        let base = unsafe page.baseAddress + layout.data
        var produced = page.loadRelaxed(at: layout.producerIndex)
        let consumed = page.loadAcquire(at: layout.consumerIndex)
        var index = 0
        while index < source.count, produced &- consumed < layout.capacity {
            let place = unsafe base + Int(produced & (layout.capacity &- 1))
            unsafe place.assumingMemoryBound(to: Atomic<UInt8>.self).pointee.store(source[index], ordering: .relaxed)
            produced = produced &+ 1
            index += 1
        }
        page.storeRelease(produced, at: layout.producerIndex)
    }

    private func readEachByte(_ target: UnsafeMutableRawBufferPointer, _ layout: RingLayout) {
        let base = unsafe page.baseAddress + layout.data
        var consumed = page.loadRelaxed(at: layout.consumerIndex)
        let produced = page.loadAcquire(at: layout.producerIndex)
        var index = 0
        while index < target.count, consumed != produced {
            let place = unsafe base + Int(consumed & (layout.capacity &- 1))
            unsafe target[index] = place.assumingMemoryBound(to: Atomic<UInt8>.self).pointee.load(ordering: .relaxed)
            consumed = consumed &+ 1
            index += 1
        }
        page.storeRelease(consumed, at: layout.consumerIndex)
    }
}
