// SPDX-License-Identifier: MIT

import Foundation

/// Ends the program with words and exit code 1: nothing is timed that does not do what it should.
///
/// A precondition would say nothing in a release build.
func refuse(_ text: String) -> Never {
    Main.say("Benchmarks: \(text): nothing is measured")
    Scratch.close()
    exit(1)
}

/// Refuses unless `condition` holds.
func insist(_ condition: Bool, _ text: @autoclosure () -> String) {
    if !condition { refuse(text()) }
}

/// Runs a check that ends at once if all is well, and refuses if it has not ended long after.
func verify(_ what: String, _ check: () throws -> Void) rethrows {
    let limit = 20
    // Work that is put off and cancelled would still wake somebody in the end, while others are measured.
    let overdue = DispatchSource.makeTimerSource()
    overdue.schedule(deadline: .now() + .seconds(limit))
    overdue.setEventHandler { refuse("\(what): what went in has not come out in \(limit) s") }
    overdue.resume()
    defer { overdue.cancel() }
    try check()
}
