// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenRing

/// A page on the heap, between two stretches of canaries.
@safe
final class GuardedPage {
    static let guardSize = 256
    let storage: UnsafeMutableRawBufferPointer

    init() {
        unsafe storage = .allocate(byteCount: SharedPage.size + 2 * GuardedPage.guardSize, alignment: 4096)
        unsafe storage.initializeMemory(as: UInt8.self, repeating: 0xA5)
        for offset in 0..<SharedPage.size { unsafe storage[GuardedPage.guardSize + offset] = 0 }
    }

    deinit { unsafe storage.deallocate() }

    var page: SharedPage {
        guard let base = unsafe storage.baseAddress else { preconditionFailure("it was allocated") }
        return unsafe SharedPage(base: base + GuardedPage.guardSize)
    }

    subscript(offset: Int) -> UInt8 {
        get { unsafe storage[GuardedPage.guardSize + offset] }
        set { unsafe storage[GuardedPage.guardSize + offset] = newValue }
    }

    /// Whether the stretches before and after the page are as they were.
    var guardsAreIntact: Bool {
        let before = unsafe storage[..<GuardedPage.guardSize]
        let after = unsafe storage[(GuardedPage.guardSize + SharedPage.size)...]
        return unsafe before.allSatisfy { $0 == 0xA5 } && after.allSatisfy { $0 == 0xA5 }
    }
}

struct SharedPageTests {
    @Test func `words lie where the layout says, in native byte order`() {
        let memory = GuardedPage()
        memory.page.storeRelease(0x0102_0304, at: 3084)
        let bytes = (3080..<3092).map { memory[$0] }
        let word = unsafe withUnsafeBytes(of: UInt32(0x0102_0304)) { unsafe Array($0) }
        #expect(bytes == [0, 0, 0, 0] + word + [0, 0, 0, 0])
        #expect(memory.page.loadAcquire(at: 3084) == 0x0102_0304)
        #expect(memory.page.loadRelaxed(at: 3084) == 0x0102_0304)
        memory.page.storeReleaseByte(1, at: 3088)
        #expect(memory[3088] == 1 && memory[3087] == word[3] && memory[3089] == 0)
        #expect(memory.page.loadAcquireByte(at: 3088) == 1)
        #expect(memory.guardsAreIntact)
    }

    @Test func `copies of every length move exactly their bytes`() {
        let source = (0..<200).map { UInt8($0) }
        for offset in [0, 1, 7, 8] {
            for count in 0...100 {
                let memory = GuardedPage()
                unsafe source.withUnsafeBytes { bytes in
                    unsafe memory.page.copyIn(UnsafeRawBufferPointer(rebasing: bytes[..<count]), at: 1024 + offset)
                }
                #expect((0..<count).allSatisfy { memory[1024 + offset + $0] == source[$0] })
                #expect(memory[1023 + offset] == 0 && memory[1024 + offset + count] == 0, "\(count) at \(offset)")
                var back = Array(repeating: UInt8(0xEE), count: count + 2)
                unsafe back.withUnsafeMutableBytes { bytes in
                    unsafe memory.page.copyOut(
                        at: 1024 + offset,
                        into: UnsafeMutableRawBufferPointer(rebasing: bytes[1..<(count + 1)])
                    )
                }
                #expect(back == [0xEE] + source[..<count] + [0xEE])
            }
        }
    }

    @Test func `a console over a real page fills, wraps and never leaves its bytes`() throws {
        let memory = GuardedPage()
        var frontend = ConsoleRing(fresh: memory.page, as: .frontend)
        var backend = try ConsoleRing(attaching: memory.page, as: .backend)
        for offset in 3089..<4096 { memory[offset] = 0x5A }
        var next: UInt8 = 0
        for round in 1...40 {
            let bytes = (0..<(round * 67)).map { next &+ UInt8(truncatingIfNeeded: $0) }
            let written = try frontend.output.write(bytes.span)
            #expect(written == min(bytes.count, 2048))
            let returned = try backend.output.write(bytes.span)
            #expect(returned == min(bytes.count, 1024))
            let there = try [UInt8](capacity: 4096) { _ = try backend.input.read(appendingTo: &$0) }
            #expect(there == Array(bytes.prefix(written)))
            let back = try [UInt8](capacity: 4096) { _ = try frontend.input.read(appendingTo: &$0) }
            #expect(back == Array(bytes.prefix(returned)))
            next &+= UInt8(truncatingIfNeeded: round)
        }
        #expect((3089..<4096).allSatisfy { memory[$0] == 0x5A })
        #expect(memory[3088] == 0)
        #expect(memory.guardsAreIntact)
    }
}
