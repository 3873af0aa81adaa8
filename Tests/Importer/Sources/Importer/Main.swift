// SPDX-License-Identifier: MIT

import XenRing

@main
enum Main {
    static func main() throws {
        let memory = UnsafeMutableRawPointer.allocate(byteCount: SharedPage.size, alignment: SharedPage.size)
        memory.initializeMemory(as: UInt8.self, repeating: 0, count: SharedPage.size)
        defer { memory.deallocate() }
        try ringExample(page: SharedPage(base: memory))
        try storeExample()
        try channelExample()
        try hypervisorExample()
        try liveExample()
        try streamExample()
        try explorationExample()
        try simulatorExample()
        checkerExample()
        print("all products work")
    }
}
