// SPDX-License-Identifier: MIT

import Testing

extension Trait where Self == TimeLimitTrait {
    /// For what never ends; it says nothing about speed.
    ///
    /// The tests of all suites share a few threads. One that waits for a process or a task goes on when others, which do not wait, let it:
    /// on a busy machine that is minutes later, and would be the test's own time.
    static var longest: Self { .timeLimit(.minutes(15)) }
}
