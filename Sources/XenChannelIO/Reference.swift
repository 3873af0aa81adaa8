// SPDX-License-Identifier: MIT

/// A reference that is used without being counted each time: two atomic operations saved, where they would be most of the cost.
///
/// Whoever holds it keeps the object, or takes the reference away before the object goes, and not while it is in use.
@safe
struct Reference<Object: AnyObject>: Equatable {
    private let unmanaged: Unmanaged<Object>

    /// Somebody else keeps the object.
    init(_ object: Object) {
        unsafe unmanaged = .passUnretained(object)
    }

    /// Keeps the object until `release()`.
    init(retaining object: Object) {
        unsafe unmanaged = .passRetained(object)
    }

    /// Ends what `init(retaining:)` began.
    func release() {
        unsafe unmanaged.release()
    }

    /// Whether both are the same object.
    static func == (lhs: Reference, rhs: Reference) -> Bool {
        unsafe lhs.unmanaged.toOpaque() == rhs.unmanaged.toOpaque()
    }

    /// Runs `body` with the object.
    @inline(__always)
    func use<Result>(_ body: (Object) -> Result) -> Result {
        unsafe unmanaged._withUnsafeGuaranteedRef { body($0) }
    }
}
