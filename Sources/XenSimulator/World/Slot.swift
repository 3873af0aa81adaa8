// SPDX-License-Identifier: MIT

/// A place of its own for a value that is used at every step.
///
/// A class's stored property is checked for overlapping accesses each time; at some ten accesses a step, that takes half of a run's time.
/// A slot is not checked: whoever uses it must not reach it again from within a change of it, and a world has one thread.
///
/// It is shown by addressors, since unoptimised builds of Swift 6.3 release what `_read` yields once too often.
@safe
struct Slot<Value: ~Copyable>: ~Copyable {
    /// Where the value is.
    let writing: UnsafeMutablePointer<Value>
    var reading: UnsafePointer<Value> { unsafe UnsafePointer(writing) }

    init(_ value: consuming Value) {
        unsafe writing = .allocate(capacity: 1)
        unsafe writing.initialize(to: value)
    }

    deinit {
        unsafe writing.deinitialize(count: 1)
        unsafe writing.deallocate()
    }

    var value: Value {
        unsafeAddress { unsafe reading }
        nonmutating unsafeMutableAddress { unsafe writing }
    }
}
