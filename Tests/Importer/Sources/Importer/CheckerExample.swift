// SPDX-License-Identifier: MIT

import XenRingChecker

/// The ring explored over weakly ordered memory, and with one ordering left out.
func checkerExample() {
    let scenario = RingScenarios.plain(writes: 2, reads: 2)
    print(Explorer(scenario).explore().isProof)  // true

    let broken = scenario.weakened(Weakening([.producerStore]))
    print(Explorer(broken).explore().violation?.description ?? "")  // the execution that breaks
    precondition(Explorer(scenario).explore().isProof)
    precondition(Explorer(broken).explore().violation != nil)
}
