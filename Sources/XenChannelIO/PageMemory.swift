// SPDX-License-Identifier: MIT

public import XenRing

/// A page of a simulated domain's memory: zeroed, aligned, freed with the last reference.
public final class PageMemory: @unchecked Sendable {
    /// The page, for as long as this object lives.
    public let page: SharedPage

    /// Makes a page of zeros.
    init() {
        let memory = UnsafeMutableRawPointer.allocate(byteCount: SharedPage.size, alignment: SharedPage.size)
        unsafe memory.initializeMemory(as: UInt8.self, repeating: 0, count: SharedPage.size)
        page = unsafe SharedPage(base: memory)
    }

    deinit {
        unsafe page.baseAddress.deallocate()
    }
}
