// SPDX-License-Identifier: MIT

import Foundation
import Glibc

/// A client on a Unix socket or at a terminal, that blocks.
final class Client: Sendable {
    let descriptor: Int32

    /// Connects to a socket.
    init(_ path: String) {
        descriptor = UnixSocket.connect(path)
    }

    /// Takes a descriptor over.
    init(descriptor: Int32) {
        self.descriptor = descriptor
    }

    /// Opens a terminal, which passes all bytes as they are from then on.
    init(terminal path: String) {
        descriptor = unsafe open(path, O_RDWR | O_NOCTTY)
        insist(descriptor >= 0, "open \(path)")
        var settings = termios()
        unsafe tcgetattr(descriptor, &settings)
        unsafe cfmakeraw(&settings)
        insist(unsafe tcsetattr(descriptor, TCSANOW, &settings) == 0, "a raw \(path)")
    }

    deinit {
        close(descriptor)
    }

    func send(_ count: Int) {
        send([UInt8](repeating: 7, count: min(count, 65_536)), count)
    }

    private func send(_ bytes: [UInt8], _ count: Int) {
        var left = count
        while left > 0 {
            let sent = unsafe write(descriptor, bytes, min(bytes.count, left))
            insist(sent > 0, "the server takes bytes")
            left -= sent
        }
    }

    func receive(_ count: Int) {
        var bytes = [UInt8](repeating: 0, count: min(count, 65_536))
        var left = count
        while left > 0 {
            let got = unsafe read(descriptor, &bytes, min(bytes.count, left))
            insist(got > 0 && bytes[0] == 7, "the server gives the bytes back")
            left -= got
        }
    }

    /// Sends bytes that differ and compares what comes back.
    func verify() {
        for size in [1, 1000, 3000] {
            let sent = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ size) }
            send(sent, size)
            var received: [UInt8] = []
            var bytes = [UInt8](repeating: 0, count: size)
            while received.count < size {
                let got = unsafe read(descriptor, &bytes, size - received.count)
                insist(got > 0, "the server gives the bytes back")
                received += bytes[..<got]
            }
            insist(received == sent, "what comes back is what was sent")
        }
    }
}

/// The plainest echo there is: `read` and `write`, for one client at a time on a socket, or at a terminal.
final class EchoServer: Sendable {
    let path: String
    private let listener: Int32

    /// On a socket.
    init() {
        path = Scratch.path("echo")
        listener = UnixSocket.listen(path)
        let listener = listener
        Thread {
            while true {
                let client = accept(listener, nil, nil)
                guard client >= 0 else { return }
                EchoServer.echo(client)
                close(client)
            }
        }.start()
    }

    /// Behind a terminal.
    init(terminal: Void) {
        var master: Int32 = 0
        var slave: Int32 = 0
        var settings = termios()
        unsafe cfmakeraw(&settings)
        insist(unsafe openpty(&master, &slave, nil, &settings, nil) == 0, "a terminal")
        path = unsafe String(cString: ttyname(slave))
        listener = slave
        // The other end stays open, so that a client that leaves is not the end.
        let descriptor = master
        Thread { EchoServer.echo(descriptor) }.start()
    }

    private static func echo(_ client: Int32) {
        var bytes = [UInt8](repeating: 0, count: 65_536)
        while giveBack(client, &bytes) {}
    }

    /// Gives back once what there is; returns whether the client is still there.
    fileprivate static func giveBack(_ client: Int32, _ bytes: inout [UInt8]) -> Bool {
        let count = unsafe read(client, &bytes, bytes.count)
        guard count > 0 else { return false }
        var done = 0
        while done < count {
            let sent = unsafe bytes[done..<count].withUnsafeBytes { bytes in
                unsafe write(client, bytes.baseAddress, bytes.count)
            }
            guard sent > 0 else { return false }
            done += sent
        }
        return true
    }

    /// Ends the service of a socket; a terminal's ends with the process.
    func stop() {
        shutdown(listener, Int32(SHUT_RDWR))
        close(listener)
        unsafe unlink(path)
    }
}

/// The plainest echo for many clients: `poll`, `read` and `write` in one thread, which ends when the clients have gone.
final class EchoLoop {
    let clients: [Client]

    init(clients count: Int) {
        var clients: [Client] = []
        var served: [pollfd] = []
        for _ in 0..<count {
            var ends: [Int32] = [-1, -1]
            insist(unsafe socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0, "a socket")
            clients.append(Client(descriptor: ends[0]))
            served.append(pollfd(fd: ends[1], events: Int16(POLLIN), revents: 0))
        }
        self.clients = clients
        let list = served
        Thread { EchoLoop.run(list) }.start()
    }

    private static func run(_ list: [pollfd]) {
        var list = list
        var bytes = [UInt8](repeating: 0, count: 65_536)
        var left = list.count
        while left > 0 {
            _ = unsafe poll(&list, nfds_t(list.count), -1)
            for index in list.indices where list[index].revents != 0 {
                guard !EchoServer.giveBack(list[index].fd, &bytes) else { continue }
                close(list[index].fd)
                list[index].fd = -1
                left -= 1
            }
        }
    }
}

/// Sockets by path, or the end of the program.
enum UnixSocket {
    static func connect(_ path: String) -> Int32 {
        let descriptor = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        unsafe insist(withAddress(path) { unsafe Glibc.connect(descriptor, $0, $1) } == 0, "connect \(path)")
        return descriptor
    }

    static func listen(_ path: String) -> Int32 {
        let descriptor = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        unsafe insist(withAddress(path) { unsafe bind(descriptor, $0, $1) } == 0, "bind \(path)")
        insist(Glibc.listen(descriptor, 16) == 0, "listen \(path)")
        return descriptor
    }

    private static func withAddress(_ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: path.utf8.prefix(100)) }
        return unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
    }
}
