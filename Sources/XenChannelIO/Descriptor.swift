// SPDX-License-Identifier: MIT

import Glibc

/// An open file descriptor, closed when the last reference goes.
final class Descriptor {
    /// What one attempt to move bytes came to.
    enum Transfer: Equatable {
        /// So many bytes, at least one.
        case moved(Int)
        /// The other end has no more to say.
        case end
        /// Not now: wait until the descriptor is ready.
        case wait
        /// The other end is gone.
        case gone(Int32)
    }

    let raw: Int32

    private static let creation = Lock(())

    /// Runs what makes a descriptor and keeps it from child processes, or makes a child: one at a time, since a program that another thread
    /// starts in between would hold a client's connection open.
    static func creating<Result>(_ body: () -> Result) -> Result {
        creation.withLock { _ in body() }
    }

    /// Takes ownership.
    init(_ raw: Int32) {
        precondition(raw >= 0, "a descriptor is open")
        self.raw = raw
    }

    deinit {
        close(raw)
    }

    /// Reads into the front of `buffer` once.
    func read(into buffer: UnsafeMutableBufferPointer<UInt8>) -> Transfer {
        while true {
            let result = unsafe Glibc.read(raw, buffer.baseAddress, buffer.count)
            if result > 0 { return .moved(result) }
            if result == 0 { return .end }
            if errno == EINTR { continue }
            return Descriptor.wouldBlock(errno) ? .wait : .gone(errno)
        }
    }

    /// Reads into the free space of `output` once.
    func read(appendingTo output: inout OutputSpan<UInt8>) -> Transfer {
        unsafe output.withUnsafeMutableBufferPointer { buffer, count in
            let transfer = unsafe read(into: UnsafeMutableBufferPointer(rebasing: buffer[count...]))
            if case .moved(let more) = transfer { count += more }
            return transfer
        }
    }

    /// Writes from the front of `bytes` once.
    func write(_ bytes: Span<UInt8>) -> Transfer {
        unsafe bytes.withUnsafeBufferPointer { buffer in
            while true {
                let result = unsafe Glibc.write(raw, buffer.baseAddress, buffer.count)
                if result >= 0 { return result > 0 ? .moved(result) : .wait }
                if errno == EINTR { continue }
                return Descriptor.wouldBlock(errno) ? .wait : .gone(errno)
            }
        }
    }

    /// Writes to a socket as `write(_:)` does, without the signal that a reader which has gone away would raise.
    func send(_ bytes: Span<UInt8>) -> Transfer {
        unsafe bytes.withUnsafeBufferPointer { buffer in
            while true {
                let result = unsafe Glibc.send(raw, buffer.baseAddress, buffer.count, Int32(MSG_NOSIGNAL))
                if result >= 0 { return result > 0 ? .moved(result) : .wait }
                if errno == EINTR { continue }
                return Descriptor.wouldBlock(errno) ? .wait : .gone(errno)
            }
        }
    }

    /// Makes reads and writes return at once, and keeps the descriptor from child processes.
    func configure() {
        _ = fcntl(raw, F_SETFL, fcntl(raw, F_GETFL) | O_NONBLOCK)
        _ = fcntl(raw, F_SETFD, FD_CLOEXEC)
    }

    private static func wouldBlock(_ code: Int32) -> Bool {
        code == EAGAIN || code == EWOULDBLOCK
    }
}
