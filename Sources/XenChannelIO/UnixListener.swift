// SPDX-License-Identifier: MIT

import Glibc

/// A Unix stream socket that listens at a path.
///
/// A stale socket is replaced: one that is a socket and refuses a connection. Anything else at the path stays as it is. At the end the path
/// is removed only if it still is what was made here.
final class UnixListener {
    let path: String
    let descriptor: Descriptor
    private let device: dev_t
    private let inode: ino_t

    /// Listens at `path`, with the permissions `mode` on the socket.
    init(path: String, mode: mode_t = 0o600, backlog: Int32 = 16) throws(SystemError) {
        self.path = path
        var address = try UnixListener.address(path)
        try UnixListener.clear(path)
        descriptor = try UnixListener.socket(path)
        // The socket gets its permissions before it gets its name: nobody slips in between.
        _ = fchmod(descriptor.raw, mode)
        let raw = descriptor.raw
        let bound = unsafe UnixListener.withAddress(&address) { unsafe bind(raw, $0, $1) }
        guard bound == 0 else { throw SystemError("bind", path) }
        guard unsafe chmod(path, mode) == 0, listen(descriptor.raw, backlog) == 0 else {
            let code = errno
            unsafe unlink(path)
            throw SystemError("listen", path, code: code)
        }
        var status = stat()
        guard unsafe lstat(path, &status) == 0 else { throw SystemError("stat", path) }
        device = status.st_dev
        inode = status.st_ino
    }

    deinit {
        var status = stat()
        if unsafe lstat(path, &status) == 0, status.st_dev == device, status.st_ino == inode {
            unsafe unlink(path)
        }
    }

    /// What there was to accept.
    enum Arrival {
        /// The next client.
        case client(Descriptor)
        /// No client waits.
        case nobody
        /// A client waits, but this process or the system cannot have another descriptor now.
        case noRoom(SystemError)
    }

    /// Takes the next client, if one waits.
    func accept() -> Arrival {
        Descriptor.creating {
            while true {
                let client = Glibc.accept(descriptor.raw, nil, nil)
                if client >= 0 {
                    let descriptor = Descriptor(client)
                    descriptor.configure()
                    return .client(descriptor)
                }
                if errno == EINTR || errno == ECONNABORTED { continue }
                if errno == EAGAIN || errno == EWOULDBLOCK { return .nobody }
                let error = SystemError("accept", path)
                // Linux looks for a descriptor before it looks for a client.
                return isAwaited ? .noRoom(error) : .nobody
            }
        }
    }

    /// Whether a client waits.
    private var isAwaited: Bool {
        var entry = pollfd(fd: descriptor.raw, events: Int16(POLLIN), revents: 0)
        return unsafe poll(&entry, 1, 0) > 0
    }

    /// Connects to the socket at `path`; with `waits` until the server has room in its queue, and later calls wait as well.
    static func connect(to path: String, waits: Bool = false) throws(SystemError) -> Descriptor {
        var address = try address(path)
        let descriptor = try socket(path)
        if waits { _ = fcntl(descriptor.raw, F_SETFL, 0) }
        let result = unsafe withAddress(&address) { unsafe Glibc.connect(descriptor.raw, $0, $1) }
        guard result == 0 else { throw SystemError("connect", path) }
        return descriptor
    }

    /// Removes what may be removed from `path`: a socket that nobody serves.
    private static func clear(_ path: String) throws(SystemError) {
        var status = stat()
        guard unsafe lstat(path, &status) == 0 else {
            if errno == ENOENT { return }
            throw SystemError("stat", path)
        }
        guard status.st_mode & S_IFMT == S_IFSOCK else {
            throw SystemError("bind", path, detail: "exists and is no socket; it is left alone")
        }
        do throws(SystemError) {
            _ = try connect(to: path)
        } catch {
            guard error.code == ECONNREFUSED else { throw error }
            guard unsafe unlink(path) == 0 else { throw SystemError("unlink", path) }
            return
        }
        throw SystemError("bind", path, detail: "another program already serves this socket")
    }

    private static func socket(_ path: String) throws(SystemError) -> Descriptor {
        let raw = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard raw >= 0 else { throw SystemError("socket", path) }
        let descriptor = Descriptor(raw)
        descriptor.configure()
        return descriptor
    }

    private static func address(_ path: String) throws(SystemError) -> sockaddr_un {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = [UInt8](path.utf8)
        let room = MemoryLayout.size(ofValue: address.sun_path)
        guard !bytes.isEmpty, bytes.count < room else {
            throw SystemError(
                "bind",
                path,
                detail: "a socket's path has 1 to \(room - 1) bytes, this one \(bytes.count)"
            )
        }
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: bytes) }
        return address
    }

    private static func withAddress(
        _ address: inout sockaddr_un,
        _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
    ) -> Int32 {
        unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
    }
}
