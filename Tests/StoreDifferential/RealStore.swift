// SPDX-License-Identifier: MIT

import Glibc
import XenInterface
import XenRing
import XenStore

/// What went wrong with the real store, apart from its answers.
struct RealStoreFailure: Error, CustomStringConvertible {
    let description: String
}

/// A connection to the real daemon: bytes out, messages in.
protocol RealConnection: AnyObject {
    func send(_ bytes: ArraySlice<UInt8>) throws
    /// Waits for bytes, and appends what came to the decoder; false at the end of the stream.
    func receive(into decoder: inout StoreMessageDecoder) throws -> Bool
}

/// A Unix socket.
final class RealSocket: RealConnection {
    private let descriptor: Int32

    init(path: String) throws {
        descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let capacity = MemoryLayout.size(ofValue: address.sun_path)
        guard path.utf8.count < capacity else { throw RealStoreFailure(description: "path too long: \(path)") }
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { buffer in
            unsafe buffer.copyBytes(from: path.utf8)
        }
        let result = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard result == 0 else { throw RealStoreFailure(description: "connect \(path): errno \(errno)") }
        var timeout = timeval(tv_sec: 5, tv_usec: 0)
        unsafe setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
    }

    deinit {
        close(descriptor)
    }

    func send(_ bytes: ArraySlice<UInt8>) throws {
        var rest = bytes
        while !rest.isEmpty {
            let count = unsafe rest.withUnsafeBytes {
                unsafe Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { throw RealStoreFailure(description: "send: errno \(errno)") }
            rest = rest.dropFirst(count)
        }
    }

    func receive(into decoder: inout StoreMessageDecoder) throws -> Bool {
        var chunk = [UInt8](repeating: 0, count: 8192)
        let count = unsafe chunk.withUnsafeMutableBytes { unsafe recv(descriptor, $0.baseAddress, $0.count, 0) }
        if count == 0 || (count < 0 && errno == ECONNRESET) { return false }
        guard count > 0 else { throw RealStoreFailure(description: "no answer within 5 seconds") }
        decoder.append(chunk[..<count])
        return true
    }
}

/// A guest's ring, where the daemon runs without Xen and guests' pages are files: `ring-$DOMID-1` for the page, a pipe that
/// takes the numbers of ports for the event channels.
@safe
final class RealRing: RealConnection {
    private var requests: RingProducer<SharedPage>
    private var responses: RingConsumer<SharedPage>
    private let events: Int32
    private let port: UInt32
    private let base: UnsafeMutableRawPointer

    /// Opens the page of a domain that was just introduced with port 1.
    init(directory: String, domain: UInt16) throws {
        let file = unsafe open("\(directory)/ring-\(domain)-1", O_RDWR | O_CREAT, 0o600)
        guard file >= 0, ftruncate(file, 4096) == 0 else {
            throw RealStoreFailure(description: "ring file: errno \(errno)")
        }
        guard let page = unsafe mmap(nil, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0), unsafe page != MAP_FAILED
        else { throw RealStoreFailure(description: "mmap: errno \(errno)") }
        close(file)
        unsafe base = page
        let memory = unsafe SharedPage(base: page)
        requests = RingProducer(fresh: memory, layout: .xenstoreRequest)
        responses = RingConsumer(fresh: memory, layout: .xenstoreResponse)
        events = unsafe open("\(directory)/evt-0", O_RDWR | O_NONBLOCK)
        port = 1000 + UInt32(domain) * 16 + 1
    }

    deinit {
        close(events)
        unsafe munmap(base, 4096)
    }

    private func notify() {
        var port = port
        _ = unsafe write(events, &port, 4)
    }

    func send(_ bytes: ArraySlice<UInt8>) throws {
        var rest = bytes
        let started = now()
        while !rest.isEmpty {
            let chunk = Array(rest)
            let count = try requests.write(chunk.span)
            rest = rest.dropFirst(count)
            notify()
            if count == 0 {
                usleep(20)
                guard now() - started < 5 else { throw RealStoreFailure(description: "ring not drained in 5 seconds") }
            }
        }
    }

    func receive(into decoder: inout StoreMessageDecoder) throws -> Bool {
        let started = now()
        while true {
            var chunk = [UInt8](repeating: 0, count: 1024)
            var span = chunk.mutableSpan
            let count = try responses.read(into: &span)
            if count > 0 {
                decoder.append(chunk[..<count])
                notify()
                return true
            }
            guard now() - started < 5 else {
                throw RealStoreFailure(description: "no answer in the ring within 5 seconds")
            }
            usleep(5)
        }
    }

    private func now() -> Double {
        var time = timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }
}
