// SPDX-License-Identifier: MIT

import Testing
import XenInterface

struct StoreErrorCodesTests {
    @Test func `each error is one of its own kind`() {
        for code in StoreErrorCode.allCases {
            let own = StoreErrorCodes(code)
            #expect(StoreErrorCode.allCases.filter { own.contains($0) } == [code])
            #expect(StoreErrorCodes.all.contains(code))
            #expect(!([] as StoreErrorCodes).contains(code))
        }
        let named: StoreErrorCodes = [.noEntry, .accessDenied, .tooBig]
        #expect(Set(StoreErrorCode.allCases.filter { named.contains($0) }) == [.noEntry, .accessDenied, .tooBig])
    }
}
