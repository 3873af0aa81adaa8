// SPDX-License-Identifier: MIT

public import Glibc

/// A system call that failed: its name, what it was about, and the reason.
public struct SystemError: Error, Hashable, Sendable {
    /// The call: `bind`, `open`.
    public let call: String
    /// What it was about: a path, a command; empty if there is nothing to name.
    public let subject: String
    /// The reason: `errno`, or 0 with `detail` instead.
    public let code: Int32
    /// What was found wrong where the system itself had nothing to say.
    public let detail: String?

    /// Reports a call that set `errno`.
    public init(_ call: String, _ subject: String, code: Int32 = errno) {
        self.call = call
        self.subject = subject
        self.code = code
        detail = nil
    }

    /// Reports what was found wrong before or instead of a call.
    public init(_ call: String, _ subject: String, detail: String) {
        self.call = call
        self.subject = subject
        code = 0
        self.detail = detail
    }
}

extension SystemError: CustomStringConvertible {
    /// One line for a person.
    public var description: String {
        let reason = unsafe detail ?? String(cString: strerror(code))
        return subject.isEmpty ? "\(call): \(reason)" : "\(call) \(subject): \(reason)"
    }
}
